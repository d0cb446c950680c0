package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
	"dbops/internal/upgrade/quiesce"
	"dbops/internal/upgrade/roles"
)

// globals is the output of steps that give the target what does not belong to one database.
type globals struct {
	Report *roles.Report `json:"report"`
	// Model is what the source had before writers were kept out: later it would show that as its setting. Passwords are not in it.
	Model *roles.Model `json:"model,omitempty"`
}

func (m *moving) prepareSteps() []op.Step {
	give := m.step("roles", "give "+m.to.Name+" the roles of "+m.from.Name+", with their passwords where they can be read", (*moving).giveRoles)
	create := m.step("databases", "create "+strings.Join(m.names, ", ")+" on "+m.to.Name, (*moving).createDatabases)
	if m.to.Declared { // what the run made goes with the instance that it made
		give = m.undone(give, "drop the roles that this run made on "+m.to.Name, (*moving).dropRoles)
		create = m.undone(create, "drop the databases that this run made on "+m.to.Name, (*moving).dropDatabases)
	}
	steps := []op.Step{give, m.step("passwords", "give logins the passwords that dbops delivers, where they could not be read", (*moving).passwords), create}
	if m.to.Login != "" {
		steps = append(steps, m.step(adminStep, "see that the admin login may work on "+m.to.Name+": so far "+m.to.Login+" did", (*moving).proveAdmin))
	}
	return steps
}

// given is the output of step "passwords".
type given struct {
	Given   []string `json:"given,omitempty"`
	Missing []string `json:"missing,omitempty"` // logins that nobody can use before somebody gives them a password
}

// passwords are given to logins whose verifiers a cloud does not show.
func (m *moving) passwords(ctx context.Context, s *op.Session) (op.Result, error) {
	var done globals
	if _, err := s.Output("roles", &done); err != nil {
		return op.Result{}, err
	}
	if done.Report == nil || len(done.Report.NoPassword) == 0 {
		return op.Result{Text: "none is missing"}, nil
	}
	known := map[string]secret.Value{}
	if m.r.d.Clients != nil {
		var err error
		if known, err = m.r.d.Clients.Passwords(ctx, m.t); err != nil {
			return op.Result{}, err
		}
	}
	conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil)
	if err != nil {
		return op.Result{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var out given
	for _, role := range done.Report.NoPassword {
		password, ok := known[role]
		if !ok || password.IsZero() {
			out.Missing = append(out.Missing, role)
			continue
		}
		verifier, err := pg.Verifier(password)
		if err != nil {
			return op.Result{}, err
		}
		if err := s.Fence(); err != nil {
			return op.Result{}, err
		}
		if _, err := conn.Exec(ctx, "alter role "+ident(role)+" password "+literal(verifier)); err != nil {
			return op.Result{}, fault.New(fault.Failed, "give "+role+" its password on "+m.to.Name, err).Hint("let the admin login alter that role, then try again")
		}
		out.Given = append(out.Given, role)
	}
	text := fmt.Sprintf("%d given", len(out.Given))
	if n := len(out.Missing); n > 0 {
		text += fmt.Sprintf("; %d logins have none until somebody gives them one: %s", n, strings.Join(out.Missing[:min(n, 8)], ", "))
	}
	return op.Result{Output: out, Text: text, Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "passwords", To: strings.Join(out.Given, ", ")}}}, nil
}

func (m *moving) giveRoles(ctx context.Context, s *op.Session) (op.Result, error) {
	model, err := m.roles(ctx)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	report, err := model.Apply(ctx, m.at(m.to), roles.Options{})
	if err != nil {
		return op.Result{}, err
	}
	joined, err := model.Join(ctx, m.at(m.to))
	if err != nil {
		return op.Result{}, err
	}
	report.LeftOut = append(report.LeftOut, joined...)
	left, err := m.administer(ctx, report.Created)
	if err != nil {
		return op.Result{}, err
	}
	report.LeftOut = append(report.LeftOut, left...)
	return op.Result{
		Output: globals{report, model}, Text: told(report),
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "roles", To: "those of " + m.from.Name}},
	}, nil
}

// giveLateRoles brings what was made between the first look and the closing of the source, with everything that belongs to it.
func (m *moving) giveLateRoles(ctx context.Context, s *op.Session) (op.Result, error) {
	was, err := m.model(s)
	if err != nil {
		return op.Result{}, err
	}
	now, err := m.roles(ctx)
	if err != nil {
		return op.Result{}, err
	}
	now.Settings, now.Databases = was.Settings, was.Databases                                                          // later ones say that the source is closed
	now.Roles = slices.DeleteFunc(now.Roles, func(r roles.Role) bool { return slices.Contains(m.replicas(), r.Name) }) // the replication's own
	now.Memberships = slices.DeleteFunc(now.Memberships, func(g roles.Membership) bool {
		return slices.Contains(m.replicas(), g.Role) || slices.Contains(m.replicas(), g.Member)
	})
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	report, err := now.Apply(ctx, m.at(m.to), roles.Options{})
	if err != nil {
		return op.Result{}, err
	}
	joined, err := now.Join(ctx, m.at(m.to))
	if err != nil {
		return op.Result{}, err
	}
	report.LeftOut = append(report.LeftOut, joined...)
	left, err := m.administer(ctx, report.Created)
	if err != nil {
		return op.Result{}, err
	}
	report.LeftOut = append(report.LeftOut, left...)
	out := lately{Report: report}
	if m.q.CatchUp { // else its databases are not finished yet
		out.Target, err = quiesce.Look(ctx, m.at(m.ownTo()), m.names)
	}
	return op.Result{Output: out, Text: told(report)}, err
}

// lately is the output of step "late-roles".
type lately struct {
	Report *roles.Report   `json:"report"`
	Target *quiesce.Before `json:"target,omitempty"` // who may connect to the target, before anybody closes it
}

// told is a report in a line.
func told(r *roles.Report) string {
	text := fmt.Sprintf("%d made, %d changed, %d passwords handed on", len(r.Created), len(r.Changed), r.Passwords)
	if n := len(r.NoPassword); n > 0 {
		text += fmt.Sprintf("; %d logins have no password: %s", n, strings.Join(r.NoPassword[:min(n, 5)], ", "))
	}
	if n := len(r.LeftOut); n > 0 {
		text += fmt.Sprintf("; %d left out: %s (%s)", n, r.LeftOut[0].What, r.LeftOut[0].Why)
	}
	return text
}

// model is what the source had when the roles were read.
func (m *moving) model(s *op.Session) (*roles.Model, error) {
	var done globals
	if ok, err := s.Output("roles", &done); err != nil || !ok || done.Model == nil {
		return nil, fault.Newf(fault.Internal, "read which roles "+m.from.Name+" had", "the step roles stored none").Hint("undo the run, and begin again")
	}
	return done.Model, nil
}

func (m *moving) dropRoles(ctx context.Context, s *op.Session) (op.Result, error) {
	model, err := m.roles(ctx)
	if err != nil {
		return op.Result{}, err
	}
	var done globals
	if _, err := s.Output("roles", &done); err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: "the roles that this run made are gone"}, model.Remove(ctx, m.at(m.to), done.Report)
}

func (m *moving) createDatabases(ctx context.Context, s *op.Session) (op.Result, error) {
	model, err := m.model(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if err := model.CreateDatabases(ctx, m.at(m.to)); err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Text:    fmt.Sprintf("%d databases", len(m.names)),
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "databases", To: strings.Join(m.names, ", ")}},
	}, nil
}

// dropDatabases takes away what this run filled: when it began the target held none of them.
func (m *moving) dropDatabases(ctx context.Context, s *op.Session) (op.Result, error) {
	conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil)
	if err != nil {
		return op.Result{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, name := range m.names {
		if err := s.Fence(); err != nil {
			return op.Result{}, err
		}
		if name == maintenance {
			if err := m.empty(ctx, s, name); err != nil {
				return op.Result{}, err
			}
			continue
		}
		if _, err := conn.Exec(ctx, "drop database if exists "+ident(name)+" with (force)"); err != nil {
			return op.Result{}, fmt.Errorf("drop the database %s of %s: %w", name, m.to.Name, err)
		}
	}
	return op.Result{Text: "the databases are dropped"}, nil
}
