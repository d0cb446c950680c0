package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/cloud"
)

// declarations checks the profiles, and what comes of them for each instance.
func (c *checker) declarations(cfg *Config, s spot) {
	if c.has(s, "profiles", isMapping, false) {
		all := s.down("profiles")
		for _, p := range all.node.pairs {
			at := all.down(p.key)
			c.name(at, "profile", p.key)
			if p.key == ProfileNone {
				c.report.atKey(at, "give it another name", "the profile none declares nothing, and cannot be defined")
			}
			if at.node.kind == isMapping {
				c.settings(cfg.Profiles[p.key], at)
			}
		}
	}
	for _, p := range s.down("environments").node.pairs {
		at := s.down("environments", p.key)
		env := cfg.Environments[p.key]
		if env == nil || at.node.kind != isMapping {
			continue
		}
		c.profileName(cfg, at)
		for _, p := range at.down("instances").node.pairs {
			if inst := env.Instances[p.key]; inst != nil {
				c.declared(cfg, env, inst, s, at.down("instances", p.key))
			}
		}
	}
}

// profileName checks the profile that an environment or an instance names.
func (c *checker) profileName(cfg *Config, s spot) {
	if !c.has(s, "profile", isText, false) {
		return
	}
	at := s.down("profile")
	if name := at.node.text; !slices.Contains(cfg.ProfileNames(), name) {
		suggestion := didYouMean(name, cfg.ProfileNames())
		if suggestion == "" {
			suggestion = "there are: " + list(cfg.ProfileNames())
		}
		c.report.atValue(at, suggestion, "there is no profile %s", quote(name))
	}
}

// settings checks values that are wrong for every provider.
func (c *checker) settings(v *Settings, s spot) {
	if v == nil {
		return
	}
	for key, n := range map[string]*int{BackupsKeptDays: v.BackupsKeptDays, PITRDays: v.PITRDays} {
		if n != nil && c.has(s, key, isNumber, false) && *n < 0 {
			c.report.atValue(s.down(key), "", "there are no negative days")
		}
	}
	if c.has(s, Availability, isText, false) && v.Availability != nil {
		c.oneOf(s.down(Availability), "availability", string(*v.Availability), []string{string(cloud.Zonal), string(cloud.Regional)})
	}
	c.has(s, BackupWindow, isText, false)
	c.has(s, Class, isText, false)
}

// declared checks what an instance says itself, and what it has together with its profile.
func (c *checker) declared(cfg *Config, env *Environment, inst *Instance, top, s spot) {
	if s.node.kind != isMapping {
		return
	}
	c.profileName(cfg, s)
	own := s.down("declare")
	if c.has(s, "declare", isMapping, false) {
		c.settings(inst.Declare, own)
		known := SettingKeys(inst.Kind())
		_, all := fieldsOf(reflect.TypeFor[Settings]())
		for _, p := range own.node.pairs {
			if slices.Contains(all, p.key) && !slices.Contains(known, p.key) {
				c.report.atKey(own.down(p.key), lacking(inst.Kind(), p.key), "%s has no such setting", providerName(inst.Kind()))
			}
		}
	}
	profile := profileOf(env, inst)
	values := cfg.profile(profile).Values()
	maps.Copy(values, inst.Declare.Values())
	for _, m := range mismatches(inst.Kind(), values) {
		at := own
		if _, ok := own.child(m.key); !ok {
			at = top.down("profiles", profile)
		}
		if v, ok := at.child(m.key); ok {
			c.report.atValue(v, m.suggestion, "%s", m.message)
		} else { // built in
			c.report.atKey(s, m.suggestion, "with profile %s: %s", profile, m.message)
		}
	}
}

func lacking(kind cloud.Kind, key string) string {
	switch {
	case kind == cloud.Postgres:
		return "only instances of RDS and Cloud SQL can be declared: delete it"
	case key == PITRDays:
		return "it reaches as far as " + BackupsKeptDays
	}
	return "delete it"
}

func providerName(kind cloud.Kind) string {
	return map[cloud.Kind]string{cloud.RDS: "RDS", cloud.CloudSQL: "Cloud SQL", cloud.Postgres: "a plain server"}[kind]
}

// mismatch is a declared value that the provider cannot have.
type mismatch struct{ key, message, suggestion string }

// mismatches are those of values that are right by themselves.
func mismatches(kind cloud.Kind, v map[string]string) (all []mismatch) {
	add := func(wrong bool, key, suggestion, message string) {
		if wrong {
			all = append(all, mismatch{key, message, suggestion})
		}
	}
	days, _ := strconv.Atoi(v[BackupsKeptDays]) // of a number
	_, kept := v[BackupsKeptDays]
	window, class := v[BackupWindow], v[Class]
	const hour = `([01][0-9]|2[0-3]):[0-5][0-9]`
	switch kind {
	case cloud.RDS:
		add(days > 35, BackupsKeptDays, "", "RDS keeps backups for 35 days at most")
		add(window != "" && !matches(hour+"-"+hour, window), BackupWindow, "write it as in 03:00-04:00", "this is no backup window of RDS")
		add(class != "" && !strings.HasPrefix(class, "db."), Class, "write it as in db.r6g.large", "this is no instance class of RDS")
		add(kept && days > 0 && v[PITR] == "false", PITR, "make it true, or backups_kept_days 0", "on RDS point-in-time recovery comes with the backups")
	case cloud.CloudSQL:
		logs, _ := strconv.Atoi(v[PITRDays])
		_, logged := v[PITRDays]
		add(days > 365, BackupsKeptDays, "", "Cloud SQL keeps 365 backups at most")
		add(logged && (logs < 1 || logs > 35), PITRDays, "", "Cloud SQL keeps the logs for 1 to 7 days, up to 35 in the Enterprise Plus edition")
		add(window != "" && !matches(hour, window), BackupWindow, "write it as in 03:00", "this is no start of the backups of Cloud SQL")
		add(class != "" && !strings.HasPrefix(class, "db-"), Class, "write it as in db-custom-2-7680", "this is no tier of Cloud SQL")
		regional := v[Availability] == string(cloud.Regional)
		add(regional && v[PITR] == "false", PITR, "make it true", "on Cloud SQL regional availability needs point-in-time recovery")
		add(regional && kept && days == 0, BackupsKeptDays, "keep some", "on Cloud SQL regional availability needs backups")
	case cloud.Postgres:
		return nil
	}
	add(kept && days == 0 && v[PITR] == "true", PITR, "keep backups, or make it false", "without backups there is no point-in-time recovery")
	return all
}

func matches(pattern, text string) bool {
	ok, err := regexp.MatchString(`^(`+pattern+`)$`, text)
	return ok && err == nil
}
