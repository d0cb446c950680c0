package config

import (
	"slices"
	"strings"

	"dbops/internal/fault"
)

// EnvironmentNames lists the environments in order.
func (c *Config) EnvironmentNames() []string {
	if c == nil {
		return nil
	}
	return keys(c.Environments)
}

// Environment returns the environment of that name. An unknown name is a fault.Usage with the nearest and all names.
func (c *Config) Environment(name string) (*Environment, error) {
	if c != nil {
		if e := c.Environments[name]; e != nil {
			return e, nil
		}
	}
	return nil, unknown("environment", name, "", c.EnvironmentNames())
}

// InstanceNames lists the instances in order.
func (e *Environment) InstanceNames() []string {
	if e == nil {
		return nil
	}
	return keys(e.Instances)
}

// DatabaseNames lists the databases in order, by the names that clients ask for.
func (e *Environment) DatabaseNames() []string {
	if e == nil {
		return nil
	}
	return keys(e.Databases)
}

// ContainerNames lists the containers in order.
func (e *Environment) ContainerNames() []string {
	if e == nil {
		return nil
	}
	return keys(e.Containers)
}

// Instance returns the instance of that name, or a fault.Usage.
func (e *Environment) Instance(name string) (*Instance, error) {
	if e != nil {
		if i := e.Instances[name]; i != nil {
			return i, nil
		}
	}
	return nil, unknown("instance", name, e.name(), e.InstanceNames())
}

// Database returns the database of that name, or a fault.Usage.
func (e *Environment) Database(name string) (*Database, error) {
	if e != nil {
		if d := e.Databases[name]; d != nil {
			return d, nil
		}
	}
	return nil, unknown("database", name, e.name(), e.DatabaseNames())
}

// Container returns the container of that name, or a fault.Usage.
func (e *Environment) Container(name string) (*Container, error) {
	if e != nil {
		if c := e.Containers[name]; c != nil {
			return c, nil
		}
	}
	return nil, unknown("container", name, e.name(), e.ContainerNames())
}

// DatabasesOf lists the databases on an instance in order, by the names that clients ask for.
func (e *Environment) DatabasesOf(instance string) []string {
	return slices.DeleteFunc(e.DatabaseNames(), func(name string) bool {
		d := e.Databases[name]
		return d == nil || d.Instance != instance
	})
}

func (e *Environment) name() string {
	if e == nil {
		return ""
	}
	return e.Name
}

// Coordinates are what the provider knows an instance by: project:region:instance (cloudsql), region/identifier (rds) or
// host:port (postgres). They are no secret.
func (i *Instance) Coordinates() string {
	switch {
	case i == nil:
		return ""
	case i.RDS != nil:
		return i.RDS.Region + "/" + i.RDS.Identifier
	case i.CloudSQL != nil:
		return strings.Join([]string{i.CloudSQL.Project, i.CloudSQL.Region, i.CloudSQL.Instance}, ":")
	case i.Postgres != nil:
		return i.Postgres.Server().String()
	}
	return ""
}

// Login says how to log in for an access, nil if the file does not: then the standard PG variables hold. The empty access is
// [Read].
func (i *Instance) Login(a Access) *Login {
	if i == nil {
		return nil
	}
	if a == "" {
		a = Read
	}
	return i.Logins[a]
}

// ServerName is the name of the database on its server; key is the name it has in the file.
func (d *Database) ServerName(key string) string {
	if d == nil || d.Name == "" {
		return key
	}
	return d.Name
}

// unknown says that there is no such thing in the configuration, and what there is.
func unknown(noun, name, environment string, known []string) error {
	where := "dbops.yaml"
	if environment != "" {
		where = "environment " + environment
	}
	f := fault.Newf(fault.Usage, "", "there is no %s %s in %s", noun, quote(name), where)
	if name == "" {
		f = fault.Newf(fault.Usage, "", "the %s is not named", noun)
	}
	near := Nearest(name, known)
	switch {
	case len(known) == 0:
		return f.Hint("%s has no %ss", where, noun)
	case near != "":
		return f.Hint("did you mean %s? There are: %s", quote(near), list(known))
	default:
		return f.Hint("there are: %s", list(known))
	}
}
