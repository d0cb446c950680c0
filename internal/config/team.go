package config

import (
	"net/url"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// StateServer reads the URL of the state of a team, and the name of its database. ok is false if the state is a file.
func (c *Config) StateServer() (s Server, database string, ok bool) {
	if c.State == "" {
		return s, "", false
	}
	u, err := url.Parse(c.State)
	if err != nil {
		return s, "", false
	}
	return serverURL(c.State), strings.TrimPrefix(u.Path, "/"), true
}

// ApprovalsNeeded is how many others must approve a change in e.
func (e *Environment) ApprovalsNeeded() int {
	if e.Approvals != nil {
		return *e.Approvals
	}
	if e.Protected {
		return 1
	}
	return 0
}

// maxApprovals keeps a slip of the keyboard from locking everybody out.
const maxApprovals = 9

// state checks the URL of a team's state. No message repeats it: it may hold a password.
func (c *checker) state(cfg *Config, s spot) {
	hasCA := c.caFileAt(s, "state_ca_file")
	if c.has(s, "state_secret", isText, false) {
		c.place(s.down("state_secret"), cfg.StateSecret)
	}
	if c.has(s, "state", isText, false) {
		at := s.down("state")
		u, err := url.Parse(cfg.State)
		if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Opaque != "" {
			c.report.atValue(at, "write it as in postgres://dbops@db.example.com:5432/dbops?sslmode=verify-full, or leave it out for a file of your own",
				"this is not the URL of a PostgreSQL database")
			return
		}
		if _, has := u.User.Password(); has {
			c.report.atValue(at, keepElsewhere, "the URL has room for a password; dbops.yaml must hold no secrets")
		}
		if name := strings.TrimPrefix(u.Path, "/"); name == "" || strings.Contains(name, "/") {
			c.report.atValue(at, "end it with the database, as in .../dbops?sslmode=verify-full", "the database is missing")
		}
		server := serverURL(cfg.State)
		c.host(u, server, at)
		c.parameters(u.Query(), server, at)
		c.sslmode(server, server.Local(), hasCA, at)
	}
	if c.has(s, "audit", isMapping, false) {
		c.auditKeys(cfg, s.down("audit"))
	}
}

func (c *checker) auditKeys(cfg *Config, s spot) {
	if !c.has(s, "keys", isList, false) {
		return
	}
	for i, key := range cfg.Audit.Keys {
		if _, err := note.NewVerifier(key); err != nil {
			c.report.atValue(s.down("keys").item(i), "dbops audit key prints yours", "this is no verifier key")
		}
	}
}

// approvals checks how many must approve.
func (c *checker) approvals(env *Environment, s spot) {
	if c.has(s, "approvals", isNumber, false) && env.Approvals != nil && (*env.Approvals < 0 || *env.Approvals > maxApprovals) {
		c.report.atValue(s.down("approvals"), "", "approvals must be from 0 to %d", maxApprovals)
	}
}
