package creds

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// Shown is a container's current credential. Its password is in Text and Manifest only.
type Shown struct {
	Container string   `json:"container"`
	Place     string   `json:"place"`
	Version   string   `json:"version"`
	User      string   `json:"user"`
	Slot      string   `json:"slot,omitempty"`
	Databases []string `json:"databases"`
	Amiss     string   `json:"amiss,omitempty"` // why a container that starts now does not find it, or cannot log in with it
	Next      string   `json:"next,omitempty"`  // what to do about that

	payload *payload
}

// Show reads the current credential of a container from its first place. One that has none is a fault.NotFound.
func (d Deps) Show(ctx context.Context, t op.Target, container string) (*Shown, error) {
	what := "show the credential of " + container
	containers, err := d.pick(t, []string{container})
	if err != nil {
		return nil, err
	}
	c := containers[0]
	if len(c.Places) == 0 {
		return nil, fault.Newf(fault.NotFound, what, "it has no place that its credential is delivered to").Hint("write delivery: [PLACE] under the container in dbops.yaml")
	}
	store, ref, err := d.Place(ctx, c.Places[0])
	if err != nil {
		return nil, err
	}
	held, err := store.Inspect(ctx, ref)
	if err == nil && held.Current.ID == "" {
		err = fault.Newf(fault.NotFound, what, "%s holds none yet", c.Places[0]).Hint("%s", command("issue "+container, t))
	}
	if err != nil {
		return nil, err
	}
	p, err := d.read(ctx, what, c.Places[0], held.Current.ID)
	if err != nil {
		return nil, err
	}
	seen, err := d.readPlace(ctx, c.Places[0], c)
	if err != nil {
		return nil, err
	}
	s := &Shown{Container: container, Place: c.Places[0], Version: held.Current.ID, User: p.Login().User, Amiss: seen.Amiss, payload: p}
	for _, letter := range []string{SlotA, SlotB} {
		if s.User == SlotRole(container, letter) {
			s.Slot = letter
		}
	}
	for _, database := range c.Databases {
		s.Databases = append(s.Databases, database.Server)
	}
	if s.Amiss != "" {
		s.Next = command("repair "+container, t) + " puts this credential back"
		return s, nil
	}
	s.Amiss, s.Next = d.works(ctx, t, container, s.User)
	return s, nil
}

// works tells why the current credential of a container does not log in, and what to do; nothing if it does, or if nobody can tell in time:
// who asks for a credential may have no other way to a server that hardly answers.
func (d Deps) works(ctx context.Context, t op.Target, container, user string) (amiss, next string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := d.observe(ctx, t, []string{container}, false)
	if err != nil || f.Containers[0].Works {
		return "", ""
	}
	c := &f.Containers[0]
	amiss = user + " does not log in with it: " + c.Why
	if c.Active != "" && !c.old().Login {
		amiss = user + " may log in no more: it was revoked, or somebody disabled the role"
	}
	for _, x := range rotatable(t, f, c) {
		if x.Severity == op.Block {
			return amiss, x.Remedy
		}
	}
	return amiss, command("list", t)
}

// NeedsCA tells whether who logs in with a format of it must be told the CA of the server, too.
func (s *Shown) NeedsCA(format string) bool {
	_, v := s.payload.variables()
	mode := v["PGSSLMODE"]
	root := false
	if s.payload.form == formURL {
		mode, root = s.payload.url.Query().Get("sslmode"), s.payload.url.Query().Has("sslrootcert")
	}
	return format != "text" && !root && strings.HasPrefix(mode, "verify-")
}

// Formats are those of [Shown.Text].
func Formats() []string { return []string{"text", "env", "uri", "kubernetes"} }

// Text is the credential, with its password, in a format: as it is delivered (text), as variables (env), as a URI, or as the manifest of a
// Kubernetes Secret called name.
func (s *Shown) Text(format, name string) (secret.Value, error) {
	switch format {
	case "text":
		return s.payload.Value()
	case "env":
		names, values := s.payload.variables()
		var b strings.Builder
		for _, n := range names {
			fmt.Fprintf(&b, "%s=%s\n", n, shellWord(values[n]))
		}
		return secret.New(b.String()), nil
	case "uri":
		return s.uri()
	case "kubernetes":
		return s.manifest(name)
	default:
		return secret.Value{}, fault.Newf(fault.Usage, "read the flags", "unknown format %q", format).Hint("want one of %s", strings.Join(Formats(), ", "))
	}
}

// shellWord quotes a value for a shell, if it needs that.
func shellWord(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune(passwordLetters+passwordSigns+":/@%+=,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (s *Shown) uri() (secret.Value, error) {
	if s.payload.form == formURL {
		return s.payload.Value()
	}
	_, v := s.payload.variables()
	if v["PGHOST"] == "" {
		return secret.Value{}, fault.Newf(fault.Invalid, "show the credential of "+s.Container, "%s does not say the host", s.Place)
	}
	host := v["PGHOST"]
	if v["PGPORT"] != "" {
		host = net.JoinHostPort(host, v["PGPORT"])
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(v["PGUSER"], v["PGPASSWORD"]), Host: host, Path: "/" + v["PGDATABASE"]}
	if v["PGSSLMODE"] != "" {
		u.RawQuery = url.Values{"sslmode": {v["PGSSLMODE"]}}.Encode()
	}
	return secret.New(u.String()), nil
}

// manifest is an immutable Secret: a new version has a new name, so that a Deployment that names it is rolled out by changing that.
func (s *Shown) manifest(name string) (secret.Value, error) {
	names, values := s.payload.variables()
	data := yaml.MapSlice{}
	for _, n := range names {
		data = append(data, yaml.MapItem{Key: n, Value: base64.StdEncoding.EncodeToString([]byte(values[n]))})
	}
	var b bytes.Buffer
	err := yaml.NewEncoder(&b).Encode(yaml.MapSlice{
		{Key: "apiVersion", Value: "v1"},
		{Key: "kind", Value: "Secret"},
		{Key: "metadata", Value: yaml.MapSlice{
			{Key: "name", Value: name},
			{Key: "labels", Value: yaml.MapSlice{{Key: "app.kubernetes.io/managed-by", Value: "dbops"}}},
			{Key: "annotations", Value: yaml.MapSlice{{Key: "dbops/container", Value: s.Container}, {Key: "dbops/version", Value: s.Version}}},
		}},
		{Key: "type", Value: "Opaque"},
		{Key: "immutable", Value: true},
		{Key: "data", Value: data},
	})
	if err != nil {
		return secret.Value{}, fault.New(fault.Internal, "write the manifest of "+name, err)
	}
	return secret.New(b.String()), nil
}
