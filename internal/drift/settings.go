package drift

import (
	"encoding/json"
	"slices"
	"strconv"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// setting is one managed setting of a provider.
type setting struct {
	name string // its key in dbops.yaml
	path string // in [cloud.Change.Setting], of what is pending

	// live is its value as text; ok is false if the provider did not tell.
	live func(*cloud.Instance) (value string, ok bool)
	// want asks for a value. Nil: it cannot be changed in place.
	want func(value string, into *cloud.Settings) error
	// comes is the setting that it comes with, for one that cannot be changed alone.
	comes string
	// soon turns a pending value of path into its own; nil: they are the same.
	soon func(to string) string
}

// settingsOf are the settings of a provider, in the order of [config.SettingKeys].
func settingsOf(kind cloud.Kind) []setting {
	var all []setting
	switch kind {
	case cloud.RDS:
		all = rdsSettings()
	case cloud.CloudSQL:
		all = cloudsqlSettings()
	case cloud.Postgres:
	}
	all = append(all,
		setting{name: config.BackupWindow, path: "backups.window", live: text(func(i *cloud.Instance) string { return i.Backups.Window }), want: func(v string, s *cloud.Settings) error {
			s.BackupWindow = &v
			return nil
		}},
		setting{name: config.Availability, path: "availability", live: text(func(i *cloud.Instance) string { return string(i.Availability) }), want: func(v string, s *cloud.Settings) error {
			s.Availability = new(cloud.Availability(v))
			return nil
		}},
		flag(config.PublicAccess, "public_access", func(i *cloud.Instance) bool { return i.PublicAccess }, func(s *cloud.Settings) **bool { return &s.PublicAccess }),
		flag(config.DeletionProtection, "deletion_protection", func(i *cloud.Instance) bool { return i.DeletionProtection }, func(s *cloud.Settings) **bool { return &s.DeletionProtection }),
		flag(config.IAMLogin, "iam_login", func(i *cloud.Instance) bool { return i.IAMLogin }, func(s *cloud.Settings) **bool { return &s.IAMLogin }),
		setting{name: config.Class, path: "class", live: text(func(i *cloud.Instance) string { return i.Class }), want: func(v string, s *cloud.Settings) error {
			s.Class = &v
			return nil
		}},
	)
	order := config.SettingKeys(kind)
	all = slices.DeleteFunc(all, func(s setting) bool { return !slices.Contains(order, s.name) })
	slices.SortFunc(all, func(a, b setting) int { return slices.Index(order, a.name) - slices.Index(order, b.name) })
	return all
}

func rdsSettings() []setting {
	return []setting{
		number(config.BackupsKeptDays, "backups.retention_days", func(i *cloud.Instance) (int, bool) { return i.Backups.RetentionDays, true }, func(n int, s *cloud.Settings) {
			s.RetentionDays = &n
		}),
		{
			name: config.PITR, path: "backups.retention_days", comes: config.BackupsKeptDays,
			live: func(i *cloud.Instance) (string, bool) { return strconv.FormatBool(i.Backups.PITR), true },
			soon: func(days string) string { return strconv.FormatBool(days != "0") },
		},
		{name: config.TLSRequired, path: "tls.required", live: tlsRequired},
	}
}

func cloudsqlSettings() []setting {
	tls := flag(config.TLSRequired, "tls.required", nil, func(s *cloud.Settings) **bool { return &s.TLSRequired })
	tls.live = tlsRequired
	return []setting{
		number(config.BackupsKeptDays, "backups.retained", func(i *cloud.Instance) (int, bool) {
			if !i.Backups.Enabled {
				return 0, true
			}
			return i.Backups.Retained, i.Backups.Retained > 0
		}, func(n int, s *cloud.Settings) {
			if s.BackupsEnabled = new(n > 0); n > 0 {
				s.Retained = &n
			}
		}),
		flag(config.PITR, "backups.pitr", func(i *cloud.Instance) bool { return i.Backups.PITR }, func(s *cloud.Settings) **bool { return &s.PITR }),
		number(config.PITRDays, "backups.retention_days", func(i *cloud.Instance) (int, bool) {
			return i.Backups.RetentionDays, i.Backups.RetentionDays > 0
		}, func(n int, s *cloud.Settings) { s.RetentionDays = &n }),
		tls,
	}
}

func tlsRequired(i *cloud.Instance) (string, bool) {
	return strconv.FormatBool(i.TLS.Required), i.TLS.Mode != ""
}

// text is the value of a text that is empty if the provider does not tell.
func text(of func(*cloud.Instance) string) func(*cloud.Instance) (string, bool) {
	return func(i *cloud.Instance) (string, bool) { return of(i), of(i) != "" }
}

func flag(name, path string, live func(*cloud.Instance) bool, field func(*cloud.Settings) **bool) setting {
	return setting{
		name: name, path: path,
		live: func(i *cloud.Instance) (string, bool) { return strconv.FormatBool(live(i)), true },
		want: func(v string, s *cloud.Settings) error {
			on, err := strconv.ParseBool(v)
			*field(s) = &on
			return err
		},
	}
}

func number(name, path string, live func(*cloud.Instance) (int, bool), want func(int, *cloud.Settings)) setting {
	return setting{
		name: name, path: path,
		live: func(i *cloud.Instance) (string, bool) {
			n, ok := live(i)
			return strconv.Itoa(n), ok
		},
		want: func(v string, s *cloud.Settings) error {
			n, err := strconv.Atoi(v)
			want(n, s)
			return err
		},
	}
}

// settingOf finds a setting of a provider by its name.
func settingOf(kind cloud.Kind, name string) (setting, bool) {
	all := settingsOf(kind)
	i := slices.IndexFunc(all, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return all[i], true
}

// asking are the settings that ask for values.
func asking(kind cloud.Kind, values map[string]string) (out cloud.Settings, err error) {
	for name, v := range values {
		s, ok := settingOf(kind, name)
		if !ok || s.want == nil {
			return out, fault.Newf(fault.Internal, "change "+name, "it cannot be changed on %s", kind)
		}
		if err := s.want(v, &out); err != nil {
			return out, fault.New(fault.Invalid, "change "+name+" to "+strconv.Quote(v), err)
		}
	}
	return out, nil
}

// parameterGroup is the name of the parameter group of an RDS instance, empty if it cannot be known.
func parameterGroup(live *cloud.Instance) string {
	var raw struct {
		DBParameterGroups []struct{ DBParameterGroupName string }
	}
	if live.Provider != cloud.RDS || json.Unmarshal(live.Raw, &raw) != nil || len(raw.DBParameterGroups) == 0 {
		return ""
	}
	return raw.DBParameterGroups[0].DBParameterGroupName
}
