package app

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/op/sshsig"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// Guest is somebody who logs in to dbops serve.
type Guest struct {
	Name  string // in the allowed signers
	Right config.Right
	Key   string // fingerprint
}

// Actor is the guest as plans, runs and the audit log have them.
func (g Guest) Actor() op.Actor { return op.Actor{Name: g.Name, Via: op.ViaSession} }

// Guests says who a key belongs to and what they may do, as dbops.yaml and the allowed signers say now: both are read again. Its methods may
// be called from any goroutine.
type Guests struct {
	path string

	mu      sync.Mutex
	read    time.Time
	cfg     *config.Config
	allowed *sshsig.Allowed
	err     error
}

// guestsAge is how long what was read is believed: anybody may ask, as often as they connect.
const guestsAge = 2 * time.Second

// NewGuests reads the dbops.yaml of path and its allowed signers.
func NewGuests(path string) (*Guests, error) {
	g := &Guests{path: path}
	_, _, err := g.now()
	return g, err
}

func (g *Guests) now() (*config.Config, *sshsig.Allowed, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if since := time.Since(g.read); g.read.IsZero() || since < 0 || since >= guestsAge {
		g.cfg, g.allowed, g.err = readGuests(g.path)
		g.read = time.Now()
	}
	return g.cfg, g.allowed, g.err
}

func readGuests(path string) (*config.Config, *sshsig.Allowed, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	allowed, err := AllowedSigners(cfg, "find who may log in")
	return cfg, allowed, err
}

// Find is a fault.Denied for a key that is nobody's, and another fault where that cannot be found out.
func (g *Guests) Find(key ssh.PublicKey) (Guest, error) {
	cfg, allowed, err := g.now()
	if err != nil {
		return Guest{}, err
	}
	name, err := allowed.Holder(key, time.Now())
	if err != nil {
		return Guest{}, err
	}
	return Guest{Name: name, Right: cfg.Serve.Right(name), Key: ssh.FingerprintSHA256(key)}, nil
}

// AllowedSigners reads the allowed signers that dbops.yaml names.
func AllowedSigners(cfg *config.Config, what string) (*sshsig.Allowed, error) {
	file := cfg.Approvals.AllowedSigners
	if file == "" {
		return nil, fault.Newf(fault.Config, what, "dbops.yaml names no allowed signers").
			Hint("write approvals: {allowed_signers: FILE}, and keep the file in the repository")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Config, what, err).Hint("check approvals.allowed_signers in dbops.yaml")
	}
	return sshsig.ParseAllowedSigners(text)
}

// CheckGuests finds a right in dbops.yaml that is given to nobody.
func CheckGuests(cfg *config.Config) error {
	const what = "check serve.users"
	if cfg.Approvals.AllowedSigners == "" {
		return nil
	}
	allowed, err := AllowedSigners(cfg, what)
	if err != nil {
		return err
	}
	var names []string
	for name := range cfg.Serve.Users {
		if !allowed.Has(name, time.Now()) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		return fault.Newf(fault.Config, what, "%s has no valid key among the allowed signers (%s)", names[0], cfg.Approvals.AllowedSigners).
			Hint("write the name as it stands there, or take it out of serve.users")
	}
	return nil
}

func (a *App) checkSessionVote(v state.Vote) error {
	const what = "verify a vote"
	if a.cfg.Serve.Right(v.Actor) != config.MayApprove {
		return fault.Newf(fault.Denied, what, "dbops.yaml does not let %s approve over SSH", v.Actor).Hint("write serve: {users: {%s: approve}}, and have that reviewed", v.Actor)
	}
	allowed, err := a.allowedSigners(what)
	if err != nil {
		return err
	}
	if !allowed.Has(v.Actor, v.At) {
		return fault.Newf(fault.Denied, what, "%s had no key among the allowed signers", v.Actor).Hint("have somebody else approve")
	}
	return nil
}

// NoteSession writes into the audit log that a guest came or left.
func (a *App) NoteSession(ctx context.Context, g Guest, step, text string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	by := g.Actor()
	return store.Tx(ctx, "write a session to the audit log", func(ctx context.Context, tx *state.Tx) error {
		return tx.Append(ctx, audit.Entry{Actor: by.Name, Via: by.Via, Host: host, Kind: "serve.session", Step: step, Phase: audit.Note, Text: text})
	})
}
