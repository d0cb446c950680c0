package proxy

import (
	"fmt"
	"slices"
	"strings"

	"dbops/internal/config"
)

// catalogue is the databases that clients may ask for. It does not change: another one takes its place.
type catalogue struct {
	upstreams map[string]*Upstream
	names     []string // sorted
}

func newCatalogue(all []Upstream) (*catalogue, error) {
	c := &catalogue{upstreams: make(map[string]*Upstream, len(all))}
	for _, up := range all {
		switch {
		case up.Database == "" || up.Config == nil:
			return nil, fmt.Errorf("database %q has no name or no way to log in", up.Database)
		case c.upstreams[up.Database] != nil:
			return nil, fmt.Errorf("database %q is there twice", up.Database)
		}
		c.upstreams[up.Database] = &up
		c.names = append(c.names, up.Database)
	}
	slices.Sort(c.names)
	return c, nil
}

// SetUpstreams replaces the databases from the next connection on. Sessions that are open stay, also those of a database that is gone.
func (s *Server) SetUpstreams(all []Upstream) error {
	c, err := newCatalogue(all)
	if err == nil {
		s.databases.Store(c)
	}
	return err
}

// find returns the database that a client asked for.
func (s *Server) find(name string) (*Upstream, *refusal) {
	c := s.databases.Load()
	if up := c.upstreams[name]; up != nil {
		return up, nil
	}
	shown := name[:min(len(name), nameMax)]
	r := refuse("3D000", "database %q is not in environment %s", shown, s.cfg.Environment)
	if len(c.names) == 0 {
		return nil, r.hint("it has none any more: name them under databases: in dbops.yaml")
	}
	list := strings.Join(c.names[:min(len(c.names), listMax)], ", ")
	if more := len(c.names) - listMax; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	hint := "there are: " + list
	if like := config.Nearest(shown, c.names); like != "" {
		hint = "did you mean " + like + "? " + hint
	}
	return nil, r.hint("%s", hint)
}
