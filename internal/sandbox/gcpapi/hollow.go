package gcpapi

import (
	"fmt"
	"slices"

	sqladmin "google.golang.org/api/sqladmin/v1"
)

// Hollow is an instance that only the control plane plays: it has a description, CAs of its own, and no server. What needs one is refused.
type Hollow struct {
	Attributes
	// IP is its public address: whoever listens there is no business of the API.
	IP string
}

// AdoptHollow makes hollow instances at once. Those that exist are left as they are.
func (s *Server) AdoptHollow(all []Hollow) error {
	made := make([]*instance, 0, len(all))
	for _, h := range all {
		if _, ok := s.adopted(h.Attributes); ok {
			continue
		}
		if !slices.Contains(s.cfg.Projects, h.Project) {
			return fmt.Errorf("adopt instance %s: there is no project %q", h.Name, h.Project)
		}
		db := h.instance()
		if err := validNew(db); err != nil {
			return fmt.Errorf("adopt instance %s: %w", h.Name, err)
		}
		inst, err := newInstance(db)
		if err != nil {
			return err
		}
		db.State, db.DatabaseInstalledVersion = stateRunnable, db.DatabaseVersion
		db.IpAddresses = []*sqladmin.IpMapping{{Type: "PRIMARY", IpAddress: h.IP}}
		inst.Hollow = true
		made = append(made, inst)
	}
	return s.change(func() {
		for _, inst := range made {
			s.state.Instances[inst.key()] = inst
		}
	})
}
