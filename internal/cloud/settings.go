package cloud

import (
	"strconv"
)

// wish is one setting that is asked for, beside what an instance has.
type wish struct {
	Change
	lacking bool
	keep    func(*Settings) // writes it into others
}

// wishes are the settings that s asks for, in the order of its fields.
func (s Settings) wishes(live *Instance) []wish {
	var all []wish
	add := func(setting, from, to string, keep func(*Settings)) {
		all = append(all, wish{Change{Setting: setting, From: from, To: to}, from != to, keep})
	}
	flag := func(setting string, from bool, to *bool, keep func(*Settings)) {
		if to != nil {
			add(setting, strconv.FormatBool(from), strconv.FormatBool(*to), keep)
		}
	}
	number := func(setting string, from int, to *int, keep func(*Settings)) {
		if to != nil {
			add(setting, strconv.Itoa(from), strconv.Itoa(*to), keep)
		}
	}
	text := func(setting, from string, to *string, keep func(*Settings)) {
		if to != nil {
			add(setting, from, *to, keep)
		}
	}
	text("availability", string(live.Availability), (*string)(s.Availability), func(o *Settings) { o.Availability = s.Availability })
	flag("backups.enabled", live.Backups.Enabled, s.BackupsEnabled, func(o *Settings) { o.BackupsEnabled = s.BackupsEnabled })
	number("backups.retention_days", live.Backups.RetentionDays, s.RetentionDays, func(o *Settings) { o.RetentionDays = s.RetentionDays })
	number("backups.retained", live.Backups.Retained, s.Retained, func(o *Settings) { o.Retained = s.Retained })
	text("backups.window", live.Backups.Window, s.BackupWindow, func(o *Settings) { o.BackupWindow = s.BackupWindow })
	flag("backups.pitr", live.Backups.PITR, s.PITR, func(o *Settings) { o.PITR = s.PITR })
	flag("deletion_protection", live.DeletionProtection, s.DeletionProtection, func(o *Settings) { o.DeletionProtection = s.DeletionProtection })
	flag("tls.required", live.TLS.Required, s.TLSRequired, func(o *Settings) { o.TLSRequired = s.TLSRequired })
	flag("public_access", live.PublicAccess, s.PublicAccess, func(o *Settings) { o.PublicAccess = s.PublicAccess })
	flag("iam_login", live.IAMLogin, s.IAMLogin, func(o *Settings) { o.IAMLogin = s.IAMLogin })
	for _, l := range s.Labels {
		have, there := live.Labels[l.Key]
		w := wish{Change{Setting: "labels." + l.Key, From: have, To: l.Value}, !there || have != l.Value, nil}
		if l.Remove {
			w.To, w.lacking = "", there
		}
		w.keep = func(o *Settings) { o.Labels = append(o.Labels, l) }
		all = append(all, w)
	}
	text("class", live.Class, s.Class, func(o *Settings) { o.Class = s.Class })
	return all
}

// Missing tells what of s an instance does not have: as changes from what it has, each with the path of [Change.Setting], and
// "labels.KEY" for a label.
func (s Settings) Missing(live *Instance) []Change {
	var out []Change
	for _, w := range s.wishes(live) {
		if w.lacking {
			out = append(out, w.Change)
		}
	}
	return out
}

// Part is what of s pick wants, by the paths of [Settings.Missing].
func (s Settings) Part(pick func(setting string) bool) Settings {
	var out Settings
	for _, w := range s.wishes(&Instance{}) {
		if pick(w.Setting) {
			w.keep(&out)
		}
	}
	return out
}

// Empty tells whether s asks for nothing.
func (s Settings) Empty() bool { return len(s.wishes(&Instance{})) == 0 }

// Labelled tells whether an instance has labels; not if there are none.
func Labelled(live *Instance, labels map[string]string) bool {
	for k, v := range labels {
		if have, ok := live.Labels[k]; !ok || have != v {
			return false
		}
	}
	return len(labels) > 0
}
