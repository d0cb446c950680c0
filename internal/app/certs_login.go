package app

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// kitLogin is what clients are told of a login, and what a person has to know of it.
type kitLogin struct {
	database, user string
	notes          []string
}

// kitLogin is the database and the user that clients are told. What neither was asked for nor is in the folder from before is chosen, and that is
// said.
func (a *App) kitLogin(ctx context.Context, r KitRequest) (kitLogin, error) {
	var out kitLogin
	e, err := a.cfg.Environment(r.Environment)
	if err != nil {
		return out, err
	}
	inst, err := e.Instance(r.Instance)
	if err != nil {
		return out, err
	}
	before, user := certs.Login(r.Dir, r.Environment, r.Instance)
	key, err := databaseKey(e, r.Instance, r.Database)
	if err != nil {
		return out, err
	}
	if r.Database == "" {
		if key, err = databaseKey(e, r.Instance, before); err != nil || before == "" {
			var why string
			if key, why = chooseDatabase(e, r.Instance); why != "" {
				out.notes = append(out.notes, why)
			}
		}
	}
	out.database = e.Databases[key].ServerName(key)
	login := inst.Login(config.Read)
	switch {
	case r.User != "":
		out.user = r.User
	case user != "":
		out.user = user
	case login == nil:
		out.notes = append(out.notes, "dbops.yaml names no login for read on "+r.Environment+"/"+r.Instance+", so the settings have no user: --user names one")
		return out, nil
	case login.User != "":
		out.user = login.User
	case inst.Kind() == cloud.CloudSQL && login.IAM:
		var why string
		if out.user, why = a.principal(ctx, r, inst); why != "" {
			out.notes = append(out.notes, "the settings have no user: "+why+"; --user names one")
		}
	}
	return out, nil
}

// principal is the database user of the Google identity in use, or why it is not known: the files are worth having without it.
func (a *App) principal(ctx context.Context, r KitRequest, inst *config.Instance) (user, why string) {
	p, err := a.cloudsqlProvider(ctx, r.Environment, r.Instance, inst)
	if err == nil {
		user, err = p.Principal(ctx)
	}
	if err != nil {
		return "", err.Error()
	}
	return user, ""
}

// databaseKey is the name in dbops.yaml of a database on an instance, which may also be called as its server calls it. The one that every server
// has is known without dbops.yaml. Another is a fault.Usage.
func databaseKey(e *config.Environment, instance, name string) (string, error) {
	names := e.DatabasesOf(instance)
	if name == "" || name == certs.AnyDatabase || slices.Contains(names, name) {
		return name, nil
	}
	for _, key := range names {
		if e.Databases[key].ServerName(key) == name {
			return key, nil
		}
	}
	f := fault.Newf(fault.Usage, "", "dbops.yaml has no database %q on %s/%s", name, e.Name, instance)
	if d := e.Databases[name]; d != nil {
		return "", f.Hint("it is on %s; on %s there are: %s", d.Instance, instance, listed(names))
	}
	if near := config.Nearest(name, names); near != "" {
		return "", f.Hint("did you mean %q? There are: %s", near, listed(names))
	}
	return "", f.Hint("there are: %s", listed(names))
}

func listed(names []string) string {
	return strings.Join(append(slices.Clone(names), certs.AnyDatabase), ", ")
}

// chooseDatabase chooses a database of an instance, and says why that one if there was a choice.
func chooseDatabase(e *config.Environment, instance string) (key, why string) {
	names := e.DatabasesOf(instance)
	kept := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return e.Databases[n].Owner == "" && e.Databases[n].Migrations == "" })
	switch {
	case len(names) == 0:
		return certs.AnyDatabase, "dbops.yaml names no database on " + instance + ": the settings are for " + certs.AnyDatabase + "; --database names another"
	case len(names) == 1:
		return names[0], ""
	case len(kept) == 1:
		key, why = kept[0], "the only one with an owner or migrations"
	case slices.Contains(names, instance):
		key, why = instance, "the one that is called like the instance"
	default:
		key, why = names[0], "the first by name"
	}
	return key, fmt.Sprintf("the settings are for the database %s, %s of %s; --database names another", key, why, strings.Join(names, ", "))
}

// proof says how the password that goes with a kit's user is got, in one line; empty if dbops does not know.
func (a *App) proof(s *certs.Subject, k *certs.Kit) string {
	e, err := a.cfg.Environment(s.Environment)
	if err != nil || k.User == "" {
		return ""
	}
	inst := e.Instances[s.Instance]
	login := inst.Login(config.Read)
	if login == nil || login.User != "" && login.User != k.User {
		return ""
	}
	self := "dbops proxy -e " + s.Environment + ", which logs in by itself"
	if key, err := databaseKey(e, s.Instance, k.Database); err == nil && key != certs.AnyDatabase {
		self = fmt.Sprintf("dbops psql -e %s %s, or dbops proxy -e %s, which log in by themselves", s.Environment, key, s.Environment)
	}
	switch {
	case login.IAM && inst.RDS != nil:
		host, port, _ := net.SplitHostPort(s.Addresses[0].HostPort) // a kit has been made of it
		return fmt.Sprintf(`%s logs in with a token of 15 minutes: PGPASSWORD="$(aws rds generate-db-auth-token --region %s --hostname %s --port %s --username %s)"; or take %s`,
			k.User, inst.RDS.Region, host, port, k.User, self)
	case login.IAM:
		return k.User + ` logs in with a token of an hour: PGPASSWORD="$(gcloud sql generate-login-token)"; or take ` + self
	case login.Secret != "":
		return k.User + "'s password is in " + login.Secret + "; or take " + self
	}
	return ""
}
