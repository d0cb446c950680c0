package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Load reads and checks the file at path. Whatever is wrong with it is a fault.Config; mistakes in the text are an [*Error] that
// holds all of them. In the result relative paths are absolute, and every default that does not depend on a cloud is filled in.
func Load(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.Config, "read "+path, err)
	}
	text, err := read(abs)
	if err != nil {
		f := fault.New(fault.Config, "read "+path, err)
		if errors.Is(err, fs.ErrNotExist) {
			f = f.Hint("dbops config init writes a commented one")
		}
		return nil, f
	}
	cfg, problems := parse(display(abs), abs, text)
	if problems != nil {
		return nil, fault.New(fault.Config, "", problems)
	}
	return cfg, nil
}

// read returns the text of a file, which may be a pipe.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("it is a folder; name the file in it")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("it is larger than %d KiB, which no dbops.yaml is", maxBytes>>10)
	}
	return text, nil
}

// plain drops the operation and the path, which the caller tells.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// display is the path as messages show it: relative to the working directory if it is below.
func display(abs string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, abs); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return abs
}

// parse reads the text of the file at the absolute path; file is its name in messages.
func parse(file, path string, text []byte) (*Config, *Error) {
	r := &report{file: file}
	root, words := tree(text, r)
	secrets := refuseSecrets(words, root, r)
	if root == nil {
		return nil, r.err()
	}
	cfg := &Config{}
	d := decoder{report: r}
	top := spot{node: root, key: root.pos}
	d.into(reflect.ValueOf(cfg).Elem(), top)
	if d.visits <= maxVisits {
		c := checker{report: r, dir: filepath.Dir(path), secrets: secrets}
		c.config(cfg, top)
	}
	if problems := r.err(); problems != nil {
		return nil, problems
	}
	cfg.Path = path
	cfg.complete()
	return cfg, nil
}

// complete fills in defaults and makes paths absolute.
func (c *Config) complete() {
	c.StateCAFile = c.abs(c.StateCAFile)
	c.Approvals.AllowedSigners = c.abs(c.Approvals.AllowedSigners)
	for name, env := range c.Environments {
		env.Name = name
		for _, inst := range env.Instances {
			c.throughVia(env, inst)
			switch {
			case inst.RDS != nil:
				inst.RDS.CAFile = c.abs(inst.RDS.CAFile)
			case inst.CloudSQL != nil && inst.CloudSQL.Address == "":
				inst.CloudSQL.Address = addressPublic
			case inst.Postgres != nil:
				inst.Postgres.CAFile = c.abs(inst.Postgres.CAFile)
			}
		}
		for key, db := range env.Databases {
			if db.Name == "" {
				db.Name = key
			}
			db.Migrations = c.abs(db.Migrations)
			for _, set := range db.MigrationSets {
				set.Folder = c.abs(set.Folder)
			}
		}
		for _, ctr := range env.Containers {
			if ctr.Access == "" {
				ctr.Access = Read
			}
		}
	}
}

// abs makes a path of the file absolute; "" stays.
func (c *Config) abs(path string) string {
	if path == "" {
		return ""
	}
	return within(filepath.Dir(c.Path), path)
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Secret parses a place of a secret that the file names (a login's secret, a delivery); a relative file: is below the folder of
// dbops.yaml.
func (c *Config) Secret(place string) (secret.Ref, error) {
	ref, err := secret.ParseRef(strings.TrimSpace(place))
	if err != nil {
		return secret.Ref{}, fault.New(fault.Config, "", err)
	}
	return ref.Within(filepath.Dir(c.Path)), nil
}
