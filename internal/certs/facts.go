package certs

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
)

// Facts are what a plan depends on. Each kind of plan has those that it is about, so that nothing else makes it stale.
type Facts struct {
	Provider cloud.Kind  `json:"provider"`
	State    cloud.State `json:"state"`

	// Of a rotation.
	Own      bool             `json:"own,omitempty"` // its CAs sign no other instance
	CAs      []cloud.ServerCA `json:"cas,omitempty"`
	Default  string           `json:"default,omitempty"`
	Restarts bool             `json:"restarts,omitempty"`
	Untold   bool             `json:"untold,omitempty"` // nobody told whether it restarts
	Known    map[string]bool  `json:"known,omitempty"`  // rds: the CAs that dbops can verify a server with
	Window   string           `json:"window,omitempty"`
	Pending  []cloud.Change   `json:"pending,omitempty"` // of the CA, and what would be applied along

	// Of a client certificate.
	Mode    string   `json:"mode,omitempty"`    // whether TLS, and client certificates, are demanded
	Clients []Client `json:"clients,omitempty"` // those that the request names
	Full    bool     `json:"full,omitempty"`    // there are as many as Google documents, or more

	// Of the folder to write to.
	InTheWay []string `json:"in_the_way,omitempty"` // files of another client certificate
	Revoked  bool     `json:"revoked,omitempty"`    // they are of one that the instance does not have any more
	Foreign  []string `json:"foreign,omitempty"`    // why what is there would be lost
	Closed   string   `json:"closed,omitempty"`     // why the key cannot be stored there
}

// Client is a client certificate, as facts know it.
type Client struct {
	ID     string `json:"id"` // SHA-1
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
}

func (d Deps) told(ctx context.Context, t op.Target) (*cloud.Certificates, Facts, error) {
	c, name, err := d.Cloud(ctx, t)
	if err != nil {
		return nil, Facts{}, err
	}
	told, err := c.Certificates(ctx, name)
	if err != nil {
		return nil, Facts{}, err
	}
	return told, Facts{Provider: told.Instance.Provider, State: told.Instance.State}, nil
}

// observeCAs are the facts of a rotation.
func (d Deps) observeCAs(ctx context.Context, t op.Target, r RotateRequest) (Facts, error) {
	told, f, err := d.told(ctx, t)
	if err != nil {
		return f, err
	}
	live := told.Instance
	f.Own, f.CAs, f.Restarts, f.Untold, f.Window = told.CommonName, told.CAs, told.Restarts, told.RestartsUnknown, live.Maintenance.Window
	if r.To == "" {
		f.Default = told.Default
	}
	f.Pending = slices.DeleteFunc(slices.Clone(live.Pending), func(c cloud.Change) bool {
		return c.Setting != settingCA && (live.Provider != cloud.RDS || r.when() != cloud.CANow)
	})
	if live.Provider != cloud.RDS {
		return f, nil
	}
	roots, err := d.Roots(ctx, t)
	if err != nil {
		return Facts{}, err
	}
	f.Known = map[string]bool{}
	for _, ca := range told.CAs {
		f.Known[ca.ID] = slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return is(c, ca) })
	}
	return f, nil
}

// about notes the client certificate that a plan is about; nil: there is none.
func (f *Facts) about(c *cloud.ClientCert) {
	if c != nil {
		f.Clients = []Client{{ID: c.ID, Name: c.Name, SHA256: sha256Of(*c)}}
	}
}

func sha256Of(c cloud.ClientCert) string {
	parsed, err := parseOne(c.PEM)
	if err != nil {
		return ""
	}
	return bundle.Fingerprint(parsed)
}

// FindClient is the client certificate that a word names: by its name, or by a fingerprint, SHA-1 or SHA-256, with or without colons, or by the
// first twelve or more digits of one. Nil if there is none.
func FindClient(all []cloud.ClientCert, word string) *cloud.ClientCert {
	for i := range all {
		if all[i].Name == word {
			return &all[i]
		}
	}
	digits := strings.ToLower(strings.ReplaceAll(word, ":", ""))
	if len(digits) < 12 {
		return nil
	}
	for i := range all {
		if strings.HasPrefix(all[i].ID, digits) || strings.HasPrefix(sha256Of(all[i]), digits) {
			return &all[i]
		}
	}
	return nil
}

// ca is the CA with a role; nil if there is none.
func (f Facts) ca(role cloud.CARole) *cloud.ServerCA {
	return (&cloud.Certificates{CAs: f.CAs}).CA(role)
}

// client is the client certificate that the request names; nil if there is none.
func (f Facts) client() *Client {
	if len(f.Clients) == 0 {
		return nil
	}
	return &f.Clients[0]
}
