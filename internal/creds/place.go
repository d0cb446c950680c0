package creds

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// Mirror is a store whose containers do not read the current version but another text, into which it is put.
type Mirror interface {
	// Mirrored tells what that text says of databases, by their names in dbops.yaml; l is the current credential, if there is one. It changes
	// nothing; a text that cannot be read, or does not name a database, is an error. Neither holds a secret.
	Mirrored(ctx context.Context, databases []string, l Login) ([]Mirrored, error)
}

// Mirrored is one database as a container is told it.
type Mirrored struct {
	Database string // by its name in dbops.yaml
	Server   string // its name on the server
	Host     string // as written, with or without a port
	User     string // "" if it is in a variable
	Holds    bool   // it has user and password of the current credential
}

// address is where a container is told to find a database.
type address struct {
	Host   string
	Port   int    // 0: not said
	Server string // the database's name there; "": not said
}

func (a address) String() string {
	if a.Port == 0 {
		return a.Host
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

// readPlace reads a place, and whether it could be written. What is wrong with it is a finding, unless it may be gone in a while.
func (d Deps) readPlace(ctx context.Context, place string, c Container) (f PlaceFacts, err error) {
	f.Place = place
	store, ref, err := d.Place(ctx, place)
	if err != nil {
		return f, err
	}
	if err := d.readVersions(ctx, store, ref, &f); err != nil {
		return f, err
	}
	if err := readMirror(ctx, store, c, &f); err != nil {
		return f, err
	}
	if p, ok := store.(secret.Prober); ok && f.Trouble == "" && f.Shut == "" {
		if err := p.Probe(ctx, ref); err != nil {
			if passing(err) {
				return f, err
			}
			f.Shut, f.Next = err.Error(), fault.HintOf(err)
		}
	}
	return f, nil
}

func (d Deps) readVersions(ctx context.Context, store secret.Store, ref secret.Ref, f *PlaceFacts) error {
	trouble := func(err error) error {
		if passing(err) {
			return err
		}
		f.Trouble, f.Next = err.Error(), fault.HintOf(err)
		return nil
	}
	holding, err := store.Inspect(ctx, ref)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return nil
	case err != nil:
		return trouble(err)
	}
	f.There, f.Amiss = true, holding.Amiss
	f.Current, f.Pending, f.Previous, f.created = holding.Current.ID, holding.Pending.ID, holding.Previous.ID, holding.Current.Created
	if f.Current == "" {
		return nil
	}
	v, err := store.Read(ctx, ref, f.Current)
	if err != nil {
		return trouble(err)
	}
	p, err := parsePayload(v)
	if err != nil {
		f.Trouble, f.Garbled = err.Error(), true
		return nil //nolint:nilerr // a finding of the plan
	}
	f.Form, f.login, f.addresses = string(p.form), p.Login(), p.addresses()
	if f.Previous != "" {
		if old, err := store.Read(ctx, ref, f.Previous); err == nil {
			if p, err := parsePayload(old); err == nil {
				f.PreviousUser = p.Login().User
			}
		}
	}
	return nil
}

// read returns a version of a credential.
func (d Deps) read(ctx context.Context, what, place, version string) (*payload, error) {
	store, ref, err := d.Place(ctx, place)
	if err != nil {
		return nil, err
	}
	v, err := store.Read(ctx, ref, version)
	if err != nil {
		return nil, err
	}
	return readPayload(what, place, v)
}

// readMirror compares the text that a container reads with the version that it is made of.
func readMirror(ctx context.Context, store secret.Store, c Container, f *PlaceFacts) error {
	mirror, ok := store.(Mirror)
	if !ok || f.Trouble != "" {
		return nil
	}
	names := make([]string, len(c.Databases))
	for i, d := range c.Databases {
		names[i] = d.Name
	}
	all, err := mirror.Mirrored(ctx, names, f.login)
	if err != nil {
		if passing(err) {
			return err
		}
		f.Shut, f.Next = err.Error(), fault.HintOf(err)
		switch {
		case f.Current == "":
		case fault.KindOf(err) == fault.NotFound:
			f.Amiss = "the file is gone"
		default:
			f.Amiss = f.Shut
		}
		return nil
	}
	f.addresses = nil // those of the version reach nobody
	for _, m := range all {
		host, port := splitAddress(m.Host)
		f.addresses = append(f.addresses, address{host, port, m.Server})
		if f.Seen == "" {
			f.Seen = m.User
		}
		if f.Current == "" || m.Holds || f.Amiss != "" {
			continue
		}
		f.Amiss = fmt.Sprintf("of %s it holds another password for %s", m.Database, m.User)
		if m.User != f.login.User {
			f.Amiss = fmt.Sprintf("of %s it holds the user %s, not %s", m.Database, orNone(m.User), f.login.User)
		}
	}
	return nil
}

// splitAddress parts a host from its port; the path of a socket has none.
func splitAddress(s string) (string, int) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || strings.HasPrefix(s, "/") {
		return strings.Trim(s, "[]"), 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return s, 0
	}
	return host, n
}

// other tells of an address that containers are told, and at which they do not find their database; "" if there is none. What is reached on
// the container's own machine, as through a proxy beside it, is not known.
func (at Address) other(ctx context.Context, t op.Target, c Container, all []address) string {
	for _, a := range all {
		if local(a.Host) && a.Host != at.Host {
			continue
		}
		is := net.JoinHostPort(at.Host, strconv.Itoa(at.Port))
		if !at.isHost(ctx, a.Host) || a.Port != 0 && a.Port != at.Port {
			return fmt.Sprintf("it says %s, and %s is at %s", a, t, is)
		}
		if a.Server != "" && !slices.ContainsFunc(c.Databases, func(d Database) bool { return d.Server == a.Server }) {
			return fmt.Sprintf("it says the database %s, which is none of %s", a.Server, c.Name)
		}
	}
	return ""
}

func local(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1" || strings.HasPrefix(host, "/")
}

// resolving is how long names are looked up to see whether two are of one machine.
const resolving = 2 * time.Second

// isHost tells whether a host is the instance's: by its name, or by what names stand for.
func (at Address) isHost(ctx context.Context, host string) bool {
	same := func(a, b string) bool {
		return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
	}
	known := append([]string{at.Host}, at.Also...)
	if slices.ContainsFunc(known, func(k string) bool { return same(k, host) }) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, resolving)
	defer cancel()
	is := addressesOf(ctx, host)
	return slices.ContainsFunc(known, func(k string) bool {
		return slices.ContainsFunc(addressesOf(ctx, k), func(ip string) bool { return slices.Contains(is, ip) })
	})
}

// addressesOf are those of a name; none if nobody knows it here.
func addressesOf(ctx context.Context, host string) []string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{ip.String()}
	}
	all, _ := net.DefaultResolver.LookupHost(ctx, host) // unknown here: another one
	return all
}
