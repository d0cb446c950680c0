package encore

import (
	"fmt"
	"slices"
	"strings"
)

// Rotation is what somebody has to carry to a container by hand.
type Rotation struct {
	Kind     Kind
	Language Language
	Report   Report
	Database string // its name on the server
	Username string // the new one; empty if it stays
	From     string // where the new password is: the text of a secret.Ref; empty if it stays
	Kept     string // file with the text as it was; empty if there is none
	Text     string // how the new text is to be had, as in "--reveal prints it"
}

// Steps says what to do, in order, one sentence or command a line.
func (r Rotation) Steps() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, v := range r.Report.Variables {
		if v.Holds == Username {
			say("Set $%s in the container's environment to %s.", v.Name, r.Username)
		} else {
			say("Set $%s in the container's environment to the new password, which is in %s.", v.Name, r.From)
		}
	}
	textChanged := len(r.Report.Changed) > 0 || r.Report.CommentsGone
	switch {
	case !textChanged && len(r.Report.Variables) == 0:
		return append(out, "Nothing has to change: the text says all of it already. If the container was started before it did, restart it.")
	case !textChanged:
	case r.Kind == InfraConfig:
		say("Put the new infra config where the container reads it (%s): the file that ENCORE_INFRA_CONFIG_PATH names there.", r.Text)
		say("In images of encore build docker that is /encore/infra.config.json, inside the image: mount the new file from a secret of your platform, " +
			"and let ENCORE_INFRA_CONFIG_PATH name it; or build the image anew.")
	case r.Kind == RuntimeConfig:
		say("Set ENCORE_RUNTIME_CONFIG in the container's environment to the new value (%s).", r.Text)
		say("If ENCORE_INFRA_CONFIG_PATH is set there, the runtime reads that file and not this value: change the file.")
	default:
		say("Set the variables of the app secrets in the container's environment to the new values (%s).", r.Text)
		say("If the app has an infra config with a secret of the same name, that one counts: change the file.")
	}
	say("Restart the container. Encore reads this when the process starts, and never again:")
	say("  kubectl rollout restart deployment/NAME")
	say("  aws ecs update-service --cluster CLUSTER --service SERVICE --force-new-deployment")
	say("  gcloud run services update SERVICE --region REGION --update-env-vars RESTARTED=$(date +%%s)")
	switch {
	case r.Kind == AppSecrets:
	case r.Report.newUser():
		say("Look who is logged in: %s has sessions, and the old user has none any more:", r.Username)
		say("  select usename, count(*) from pg_stat_activity where datname = %s group by usename", quoted(r.Database))
		named := r.Report.holder(Username)
		switch old := r.Report.OldUsername; {
		case old != "":
			say("Then, and not before, lock the old user: alter role %s nologin", identifierSQL(old))
		case named != "":
			say("Then, and not before, lock the old user, whom $%s names: alter role OLD nologin", named)
		default:
			say("Then, and not before, lock the old user: alter role OLD nologin")
		}
		say("The way back until then: the old text%s and the old values of the variables, and a restart. The old user still works.", r.kept())
	case r.Report.SameUser:
		say("Lock no user: the text names the same one as before, which is logged in. The way back: the old text%s with the old password of that user, and a restart.", r.kept())
	case r.Kept != "":
		say("The way back: the old text%s and a restart.", r.kept())
	}
	for _, v := range r.Report.Inlined {
		say("At last remove $%s from the container's environment: the text holds the %s itself now, and does not name it any more.", v.Name, v.Holds)
	}
	return append(out, r.advice()...)
}

func (r Rotation) kept() string {
	if r.Kept == "" {
		return ""
	}
	return ", which is in " + r.Kept + ","
}

// newUser tells whether the container logs in as another user than before.
func (r Report) newUser() bool {
	return slices.Contains(r.Changed, Username) || slices.ContainsFunc(r.Variables, func(v Variable) bool { return v.Holds == Username })
}

// holder is the variable that held a value until now; "" if none did.
func (r Report) holder(value string) string {
	for _, v := range r.Inlined {
		if v.Holds == value {
			return v.Name
		}
	}
	return ""
}

// advice is how the next rotation asks for less.
func (r Rotation) advice() []string {
	if r.Kind != InfraConfig || len(r.Report.Inlined) > 0 || !slices.Contains(r.Report.Changed, Password) && !slices.Contains(r.Report.Changed, Username) {
		return nil
	}
	if r.Language == Go {
		return []string{`For next time: with "username": {"$env": "DB_USER"} and "password": {"$env": "DB_PASSWORD"} the file stays as it is, ` +
			"and only the variables change."}
	}
	return []string{"For next time: the TypeScript runtime takes the user name from the file only, so with two users in turn the file changes each time; " +
		`the password may be a variable: "password": {"$env": "DB_PASSWORD"}.`}
}

// quoted is s as a literal of SQL.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifierSQL is s as a name in SQL.
func identifierSQL(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
