package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"dbops/internal/cloud"
)

// Settings are what an instance should have. A setting that is left out is nobody's business: dbops leaves it as it is.
type Settings struct {
	// BackupsKeptDays is how many daily backups are kept; 0: none are made.
	BackupsKeptDays *int `yaml:"backups_kept_days,omitempty" json:"backups_kept_days,omitempty"`
	// BackupWindow is when backups are made, in UTC: 03:00-04:00 on RDS, 03:00 on Cloud SQL.
	BackupWindow *string `yaml:"backup_window,omitempty" json:"backup_window,omitempty"`
	// PITR is whether the instance can be restored to any moment. On RDS it comes with the backups.
	PITR *bool `yaml:"pitr,omitempty" json:"pitr,omitempty"`
	// PITRDays is how far back that reaches. Cloud SQL only: on RDS it is as far as the backups.
	PITRDays *int `yaml:"pitr_days,omitempty" json:"pitr_days,omitempty"`
	// Availability is zonal, or regional: with a standby in a second zone.
	Availability *cloud.Availability `yaml:"availability,omitempty" json:"availability,omitempty" jsonschema:"enum=zonal,enum=regional"`
	// PublicAccess is whether it has an address that the internet can reach.
	PublicAccess *bool `yaml:"public_access,omitempty" json:"public_access,omitempty"`
	// TLSRequired is whether connections without TLS are refused.
	TLSRequired *bool `yaml:"tls_required,omitempty" json:"tls_required,omitempty"`
	// DeletionProtection is whether it must be switched off before the instance can be deleted.
	DeletionProtection *bool `yaml:"deletion_protection,omitempty" json:"deletion_protection,omitempty"`
	// IAMLogin is whether roles may log in with a cloud identity.
	IAMLogin *bool `yaml:"iam_login,omitempty" json:"iam_login,omitempty"`
	// Class is the machine class, as in db.r6g.large or db-custom-2-7680.
	Class *string `yaml:"class,omitempty" json:"class,omitempty"`
}

// The settings, by their keys.
const (
	BackupsKeptDays    = "backups_kept_days"
	BackupWindow       = "backup_window"
	PITR               = "pitr"
	PITRDays           = "pitr_days"
	Availability       = "availability"
	PublicAccess       = "public_access"
	TLSRequired        = "tls_required"
	DeletionProtection = "deletion_protection"
	IAMLogin           = "iam_login"
	Class              = "class"
)

// The profiles that need no definition.
const (
	ProfileProduction = "production" // what protected environments have if they name none
	ProfileNone       = "none"       // nothing is declared
)

// production is what an instance in production should have.
func production() *Settings {
	return &Settings{
		BackupsKeptDays: new(7), PITR: new(true), Availability: new(cloud.Regional),
		PublicAccess: new(false), TLSRequired: new(true), DeletionProtection: new(true),
	}
}

// SettingKeys are the settings that a provider has, in their order.
func SettingKeys(kind cloud.Kind) []string {
	_, all := fieldsOf(reflect.TypeFor[Settings]())
	switch kind {
	case cloud.RDS:
		return slices.DeleteFunc(all, func(key string) bool { return key == PITRDays })
	case cloud.CloudSQL:
		return all
	case cloud.Postgres:
	}
	return nil
}

// Values are the settings that are said, by key, as text: "7", "true", "regional".
func (s *Settings) Values() map[string]string {
	out := map[string]string{}
	if s == nil {
		return out
	}
	v := reflect.ValueOf(*s)
	byKey, _ := fieldsOf(v.Type())
	for key, i := range byKey {
		if f := v.Field(i); !f.IsNil() {
			out[key] = fmt.Sprint(f.Elem().Interface())
		}
	}
	return out
}

// Declared is what an instance should have: the settings of the provider that are said, by key, as text.
type Declared struct {
	Profile string // the one that holds: [ProfileNone] if none does
	Values  map[string]string
}

// Declared is what the instance of an environment should have: what its profile says, and before that what it says itself. Unknown
// names are a fault.Usage.
func (c *Config) Declared(env, instance string) (Declared, error) {
	e, err := c.Environment(env)
	if err != nil {
		return Declared{}, err
	}
	i, err := e.Instance(instance)
	if err != nil {
		return Declared{}, err
	}
	d := Declared{Profile: profileOf(e, i)}
	d.Values = c.profile(d.Profile).Values()
	maps.Copy(d.Values, i.Declare.Values())
	known := SettingKeys(i.Kind())
	maps.DeleteFunc(d.Values, func(key, _ string) bool { return !slices.Contains(known, key) })
	return d, nil
}

func profileOf(e *Environment, i *Instance) string {
	switch {
	case i.Profile != "":
		return i.Profile
	case e.Profile != "":
		return e.Profile
	case e.Protected:
		return ProfileProduction
	}
	return ProfileNone
}

// profile is a profile's settings. What the file says of a built-in one goes before what it has built in.
func (c *Config) profile(name string) *Settings {
	said := c.Profiles[name]
	if name != ProfileProduction {
		return said
	}
	whole := production()
	if said != nil {
		to, from := reflect.ValueOf(whole).Elem(), reflect.ValueOf(said).Elem()
		for i := range from.NumField() {
			if !from.Field(i).IsNil() {
				to.Field(i).Set(from.Field(i))
			}
		}
	}
	return whole
}

// ProfileNames lists the profiles that can be named, in order.
func (c *Config) ProfileNames() []string {
	names := append(keys(c.Profiles), ProfileProduction, ProfileNone)
	slices.Sort(names)
	return slices.Compact(names)
}
