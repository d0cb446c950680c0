package creds

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/op"
)

// capable are the findings about what the admin login may do.
func capable(t op.Target, f Facts) (all []op.Finding) {
	a := f.Admin
	if !a.Superuser && !a.CreateRole {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "admin-createrole", Text: fmt.Sprintf("dbops logs in to %s as %s, which may not change roles", t, a.Role),
			Remedy: fmt.Sprintf("as an administrator: ALTER ROLE %s CREATEROLE; or name another admin login under logins in dbops.yaml", quoted(a.Role)),
		})
	}
	if !a.Passwords {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "admin-passwords", Text: fmt.Sprintf("%s may not set passwords on %s: rds.restrict_password_commands is on", a.Role, t),
			Remedy: "GRANT rds_password TO " + quoted(a.Role),
		})
	}
	return all
}

// manageable are the findings about what the admin login may do with one container's roles. Before PostgreSQL 16 CREATEROLE is enough.
func manageable(f Facts, c *ContainerFacts, slots ...*SlotFacts) (all []op.Finding) {
	if f.Admin.Superuser || f.Major < 16 {
		return nil
	}
	for _, s := range slots {
		if s.There && !s.Admin {
			all = append(all, op.Finding{
				Severity: op.Block, Check: "admin-option", Text: fmt.Sprintf("%s: %s has no ADMIN OPTION on %s, which PostgreSQL 16 and later want", c.Name, f.Admin.Role, s.Role),
				Remedy: fmt.Sprintf("as who made the role: GRANT %s TO %s WITH ADMIN OPTION", quoted(s.Role), quoted(f.Admin.Role)),
			})
		}
	}
	return all
}

// delivered are the findings about the places of a container.
func delivered(t op.Target, c *ContainerFacts) (all []op.Finding) {
	if len(c.Places) == 0 {
		return []op.Finding{{
			Severity: op.Block, Check: "delivery", Text: c.Name + " has no place that its credential is delivered to",
			Remedy: "write delivery: [PLACE] under the container in dbops.yaml",
		}}
	}
	for _, p := range c.Places {
		switch {
		case p.Trouble != "" && p.Garbled && (p.Mend != "" || p.Differs != ""):
			all = append(all, op.Finding{
				Severity: op.Block, Check: "delivery-unreadable", Text: fmt.Sprintf("%s: somebody put version %s into %s, which is no credential", c.Name, p.Current, p.Place), Evidence: p.Trouble,
				Remedy: cmp.Or(c.wayBack(t, ""), command("repair "+c.Name, t)+" puts the current credential there again"),
			})
		case p.Trouble != "":
			all = append(all, op.Finding{
				Severity: op.Block, Check: "delivery-unreadable", Text: c.Name + ": the credential in " + p.Place + " cannot be used", Evidence: p.Trouble,
				Remedy: cmp.Or(p.Next, "correct what the error names; a credential is a JSON object with username and password, a postgres:// URL, or PGUSER and PGPASSWORD lines; where none is left, empty the place, and "+command("issue "+c.Name, t)),
			})
		case p.Shut != "":
			all = append(all, op.Finding{
				Severity: op.Block, Check: "delivery-unwritable", Text: c.Name + ": " + p.Place + " takes no new credential", Evidence: p.Shut, Remedy: p.Next,
			})
		case p.Amiss != "":
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "not-delivered", Text: c.Name + ": what starts now does not find its current credential in " + p.Place, Evidence: p.Amiss,
				Remedy: c.wayBack(t, command("repair "+c.Name, t)+" puts it back; a rotation puts a new one there"),
			})
		case p.Differs != "":
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "not-delivered", Text: fmt.Sprintf("%s: %s does not hold the credential that %s decides on", c.Name, p.Place, c.Places[0].Place), Evidence: p.Differs,
				Remedy: c.wayBack(t, command("repair "+c.Name, t)+" puts it there; a rotation puts a new one there"),
			})
		}
		if p.Elsewhere != "" {
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "other-server", Text: c.Name + ": " + p.Place + " leads to another server", Evidence: p.Elsewhere,
				Remedy: "correct the address there, unless it is another way to the same server; dbops changes user and password only",
			})
		}
	}
	return all
}

// blocks tells whether any of the findings forbids to go on.
func blocks(all []op.Finding) bool {
	return slices.ContainsFunc(all, func(f op.Finding) bool { return f.Severity == op.Block })
}

// rotatable are the findings about one container that a rotation starts from.
func rotatable(t op.Target, f Facts, c *ContainerFacts) (all []op.Finding) {
	all = delivered(t, c)
	if blocks(all) {
		return all
	}
	all = append(all, manageable(f, c, c.idle(), c.old())...)
	switch {
	case c.Places[0].Current == "":
		all = append(all, op.Finding{
			Severity: op.Block, Check: "no-credential", Text: c.Name + " has no credential yet", Evidence: holdsNone(c.Places[0]),
			Remedy: command("issue "+c.Name, t),
		})
		return all
	case c.Active == "":
		all = append(all, op.Finding{
			Severity: op.Block, Check: "foreign-login", Text: fmt.Sprintf("%s logs in as %s, which is none of its slots", c.Name, c.User),
			Evidence: c.Places[0].Place, Remedy: c.wayBack(t, command("adopt "+c.Name+" --login "+c.User, t)+" takes it over"),
		})
		return all
	case !c.old().Login:
		all = append(all, op.Finding{
			Severity: op.Block, Check: "disabled", Text: fmt.Sprintf("%s: its credential, of %s, may not log in: it was revoked, or somebody disabled the role", c.Name, c.User),
			Remedy: c.wayBack(t, command("issue "+c.Name, t)+" gives it access again, with a new credential"),
		})
	case !c.Works:
		all = append(all, op.Finding{
			Severity: op.Block, Check: "current-fails", Text: fmt.Sprintf("%s: its current credential, of %s, does not log in", c.Name, c.User), Evidence: c.Why,
			Remedy: c.wayBack(t, "if somebody changed the password by hand, put it into "+c.Places[0].Place+"; if the old one leaked or is lost: "+command("rotate "+c.Name, t)+" --compromised --reason TEXT makes a new one without it"),
		})
	}
	idle := c.idle()
	if idle.InUse {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "idle-in-use", Text: fmt.Sprintf("%s: somebody is logged in as the idle slot %s", c.Name, idle.Role),
			Remedy: c.wayBack(t, fmt.Sprintf("find out who: dbops creds list -e %s shows the sessions of each slot; restart what has an old credential, then plan again", t.Environment)),
		})
	}
	if !c.GroupThere {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "no-group", Text: c.Name + " has no group role " + c.Group, Remedy: command("adopt "+c.Name+" --login "+c.User, t),
		})
	}
	for _, p := range c.Places {
		if p.Pending != "" {
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "pending", Text: c.Name + ": " + p.Place + " holds a pending credential, which is replaced", Evidence: p.Pending,
				Remedy: "an unfinished rotation leaves one; dbops runs list shows whether its run goes on",
			})
		}
	}
	if c.Rollout == "" {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "no-rollout", Text: c.Name + " has no rollout: the run waits until somebody restarts it and its old sessions have ended",
			Remedy: "write rollout under the container in dbops.yaml",
		})
	}
	return all
}

func holdsNone(p PlaceFacts) string {
	if p.Seen != "" {
		return fmt.Sprintf("%s logs in as %s, which dbops did not put there", p.Place, p.Seen)
	}
	return p.Place + " is empty"
}

// compromised leaves out what does not matter where the old credential must go whatever it costs.
func compromised(all []op.Finding) []op.Finding {
	for i := range all {
		if all[i].Check == "current-fails" || all[i].Check == "idle-in-use" {
			all[i].Severity = op.Warn
		}
	}
	return all
}

// command is one of dbops creds on a target.
func command(verb string, t op.Target) string {
	return strings.TrimSpace(fmt.Sprintf("dbops creds %s -e %s", verb, t.Environment))
}
