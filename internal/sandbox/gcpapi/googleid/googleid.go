// Package googleid is the played Google identity: principals with roles, their keys, and the tokens they present.
//
// A service account proves itself with an RS256 assertion at /token and gets a short-lived access token, or presents the
// assertion itself; a user's token is made by [Directory.Token]. Tokens are signed, not stored, so that they outlive a restart
// of the sandbox as they outlive one of the real service; /tokeninfo and /userinfo tell whose token it is.
package googleid

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"dbops/internal/sandbox/play"
)

// The scopes that the played services know.
const (
	ScopePlatform = "https://www.googleapis.com/auth/cloud-platform"
	ScopeSQLAdmin = "https://www.googleapis.com/auth/sqlservice.admin"
	ScopeSQLLogin = "https://www.googleapis.com/auth/sqlservice.login"
)

// serviceAccountSuffix ends the email of every service account.
const serviceAccountSuffix = ".gserviceaccount.com"

const stateFile = "identity.json"

// Options say where a [Directory] lives.
type Options struct {
	Dir string // holds identity.json, readable by the owner only
	// TokenTTL is how long an access token lasts that /token gives out. Defaults to one hour, which is also the most.
	TokenTTL time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Directory holds the principals. Its methods may be called from any goroutine.
type Directory struct {
	opts  Options
	asked play.Asked

	mu    sync.Mutex
	state state
}

// state is what is kept on disk. It holds public keys only: a service account's private key is in its key file.
type state struct {
	SigningKey []byte                `json:"signing_key"`
	Principals map[string]*principal `json:"principals"` // by email
}

type principal struct {
	Grants []string          `json:"grants"`
	Keys   map[string]string `json:"keys,omitempty"` // PEM of the public key, by key id
}

// Bearer is who presented a token, and what the token is good for.
type Bearer struct {
	Email   string
	Scopes  []string
	Expires time.Time
}

// May tells whether the token carries one of scopes.
func (b Bearer) May(scopes ...string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(b.Scopes, s) })
}

// Open opens or makes the directory in opts.Dir.
func Open(opts Options) (*Directory, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.TokenTTL <= 0 || opts.TokenTTL > time.Hour {
		opts.TokenTTL = time.Hour
	}
	d := &Directory{opts: opts}
	if _, err := play.Load(opts.Dir, stateFile, &d.state); err != nil {
		return nil, err
	}
	if d.state.Principals == nil {
		d.state.Principals = map[string]*principal{}
	}
	if len(d.state.SigningKey) == 0 {
		d.state.SigningKey = make([]byte, 32)
		_, _ = rand.Read(d.state.SigningKey)
		return d, d.save()
	}
	return d, nil
}

// Grant makes a principal, or replaces what an existing one may do. A grant is a predefined role ("roles/cloudsql.client"), a
// permission ("cloudsql.instances.get") or a pattern of permissions ("cloudsql.users.*"). Without grants it may do nothing.
func (d *Directory) Grant(email string, grants ...string) error {
	if !strings.Contains(email, "@") || email != strings.ToLower(email) {
		return fmt.Errorf("principal %q: want an email address in lower case", email)
	}
	for _, g := range grants {
		if strings.HasPrefix(g, "roles/") && role(g) == nil {
			return fmt.Errorf("principal %s: the sandbox does not know %s", email, g)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.state.Principals[email]
	if p == nil {
		p = &principal{}
		d.state.Principals[email] = p
	}
	p.Grants = slices.Clone(grants)
	return d.save()
}

// Remove deletes a principal: its keys and tokens are refused from now on. Removing nobody is nil.
func (d *Directory) Remove(email string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.state.Principals, email)
	return d.save()
}

// Allowed tells whether a principal has a permission.
func (d *Directory) Allowed(email, permission string) bool {
	d.asked.Note(email, permission)
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.state.Principals[email]
	return p != nil && slices.ContainsFunc(p.Grants, func(g string) bool {
		if strings.HasPrefix(g, "roles/") {
			return slices.ContainsFunc(role(g), func(g string) bool { return covers(g, permission) })
		}
		return covers(g, permission)
	})
}

// Asked is which permissions the principals were asked for.
func (d *Directory) Asked() *play.Asked { return &d.asked }

// covers tells whether a grant, which may end in a star, covers a permission.
func covers(grant, permission string) bool {
	if prefix, ok := strings.CutSuffix(grant, "*"); ok {
		return strings.HasPrefix(permission, prefix)
	}
	return grant == permission
}

// DatabaseUser is the login role that stands for a principal in a Cloud SQL instance.
func DatabaseUser(email string) string { return strings.TrimSuffix(email, serviceAccountSuffix) }

// IsServiceAccount tells service accounts from people.
func IsServiceAccount(email string) bool { return strings.HasSuffix(email, serviceAccountSuffix) }

func (d *Directory) save() error { return play.Save(d.opts.Dir, stateFile, d.state) }

// errUnknown is the cause where a principal is named that does not exist.
var errUnknown = errors.New("no such principal")
