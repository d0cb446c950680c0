package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dbops/internal/config"
	"dbops/internal/encore"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// EncoreText is what one of Encore's texts holds, without its secrets.
type EncoreText struct {
	Kind      encore.Kind       `json:"format"`
	Language  encore.Language   `json:"language,omitempty"`
	Databases []encore.Database `json:"databases,omitempty"`
	Secrets   []string          `json:"secrets,omitempty"` // their names
	Warnings  []string          `json:"warnings,omitempty"`
}

// EncoreInput is one of Encore's texts with what is known about it.
type EncoreInput struct {
	Text     string
	As       encore.Kind     // empty: found out
	Language encore.Language // of an infra config; empty: not known
	// Lookup finds the variables that app secrets refer to.
	Lookup func(name string) (string, bool)
}

// ShowEncore tells what a text holds.
func ShowEncore(in EncoreInput) (EncoreText, error) {
	kind, err := in.kind()
	if err != nil {
		return EncoreText{}, err
	}
	switch kind {
	case encore.InfraConfig:
		c, err := encore.ParseInfra([]byte(in.Text), in.Language)
		if err != nil {
			return EncoreText{}, err
		}
		return EncoreText{Kind: kind, Language: in.Language, Databases: c.Databases(), Warnings: c.Warnings()}, nil
	case encore.RuntimeConfig:
		c, err := encore.ParseRuntime(in.Text)
		if err != nil {
			return EncoreText{}, err
		}
		return EncoreText{Kind: kind, Language: encore.Go, Databases: c.Databases(), Warnings: c.Warnings()}, nil
	default:
		s, err := encore.ParseSecrets(in.Text, in.Lookup)
		if err != nil {
			return EncoreText{}, err
		}
		return EncoreText{Kind: kind, Secrets: s.Names()}, nil
	}
}

func (in EncoreInput) kind() (encore.Kind, error) {
	if in.As != "" {
		return in.As, nil
	}
	return encore.DetectKind(in.Text)
}

// EncoreExport is what a text should hold.
type EncoreExport struct {
	EncoreInput
	Database string // by its name in the app's code; or
	Secret   string // the name of an app secret, which Change.Password is for
	Add      bool   // the secret may be one that the text does not have
	Change   encore.Change
}

// EncoreExported is the text that holds it.
type EncoreExported struct {
	Kind     encore.Kind     `json:"format"`
	Language encore.Language `json:"language,omitempty"`
	encore.Report
	Server string            `json:"-"` // the database's name on the server
	Values []encore.EnvValue `json:"-"` // the new text; of app secrets, one for each variable
}

// ExportEncore makes a text hold what is asked for. Nothing is written.
func ExportEncore(o EncoreExport) (EncoreExported, error) {
	kind, err := o.kind()
	if err != nil {
		return EncoreExported{}, err
	}
	if (kind == encore.AppSecrets) != (o.Secret != "") {
		return EncoreExported{}, fault.Newf(fault.Usage, "read the flags",
			"app secrets are named by --secret, databases of a config by --database; this is of the format %s", kind)
	}
	out := EncoreExported{Kind: kind, Language: o.Language}
	switch kind {
	case encore.InfraConfig:
		c, err := encore.ParseInfra([]byte(o.Text), o.Language)
		if err != nil {
			return out, err
		}
		if out.Report, err = c.Set(o.Database, o.Change); err != nil {
			return out, err
		}
		out.Server = serverName(c.Databases(), o.Database)
		out.Values = []encore.EnvValue{{Value: secret.New(string(c.Text()))}}
	case encore.RuntimeConfig:
		out.Language = encore.Go
		c, err := encore.ParseRuntime(o.Text)
		if err != nil {
			return out, err
		}
		if out.Report, err = c.Set(o.Database, o.Change); err != nil {
			return out, err
		}
		text, err := c.Text()
		if err != nil {
			return out, err
		}
		out.Server = serverName(c.Databases(), o.Database)
		out.Values = []encore.EnvValue{{Name: "ENCORE_RUNTIME_CONFIG", Value: secret.New(text)}}
	default:
		s, err := encore.ParseSecrets(o.Text, o.Lookup)
		if err != nil {
			return out, err
		}
		if err := o.there(s.Names()); err != nil {
			return out, err
		}
		changed, err := s.Set(o.Secret, o.Change.Password)
		if err != nil {
			return out, err
		}
		if changed {
			out.Changed = []string{o.Secret}
		}
		out.Values, err = s.Values()
		return out, err
	}
	return out, nil
}

// there refuses a secret that the text does not have: more likely than a new one it is a name that was misspelt.
func (o EncoreExport) there(names []string) error {
	if o.Add || slices.Contains(names, o.Secret) {
		return nil
	}
	f := fault.Newf(fault.Usage, "change the app secrets", "there is no secret %q", o.Secret)
	if len(names) == 0 {
		return f.Hint("there is none at all; --add adds this one")
	}
	return f.Hint("there are: %s; --add adds another", strings.Join(names, ", "))
}

func serverName(all []encore.Database, name string) string {
	for _, d := range all {
		if d.Encore == name {
			return d.Name
		}
	}
	return name
}

// FindSecret reads the secret that place names. cfg says where emulated stores are; a relative file: is below dir.
func FindSecret(ctx context.Context, cfg *config.Config, place, dir string) (secret.Value, error) {
	ref, err := secret.ParseRef(place)
	if err != nil {
		return secret.Value{}, fault.New(fault.Usage, "read the flags", err)
	}
	v, err := newSecrets(cfg).Get(ctx, ref.Within(dir))
	if fault.KindOf(err) == fault.NotFound && ref.Scheme == secret.SchemeFile {
		return v, fault.New(fault.NotFound, "", err).Hint("a relative path is relative to the folder you are in")
	}
	return v, err
}

// EncoreImport says which app to make a dbops.yaml for.
type EncoreImport struct {
	Dir         string
	InfraPath   string          // empty: infra.config.json or infra-config.json in Dir, if there is one
	Language    encore.Language // empty: found out
	Environment string          // empty: as the infra config says
	OutDir      string          // folder of the new file
}

// EncoreImported is a new dbops.yaml, with what it was made of.
type EncoreImported struct {
	YAML      string          `json:"yaml"`
	App       string          `json:"app"`
	Language  encore.Language `json:"language"`
	Infra     string          `json:"infra_config,omitempty"` // path; empty: there is none
	Databases int             `json:"databases"`
	Unknown   []string        `json:"unknown,omitempty"` // what could not be made out, and warnings
}

// ImportEncore reads an app and its infra config, and makes a dbops.yaml that is right.
func ImportEncore(o EncoreImport) (EncoreImported, error) {
	a, err := encore.ReadApp(o.Dir, o.Language)
	if err != nil {
		return EncoreImported{}, err
	}
	out := EncoreImported{App: a.ID, Language: a.Language, Unknown: a.Unknown}
	var infra *encore.Infra
	if out.Infra, err = infraPath(o, a.Dir); err != nil {
		return out, err
	}
	if out.Infra != "" {
		text, err := os.ReadFile(out.Infra)
		if err != nil {
			return out, fault.New(fault.Usage, "", err)
		}
		if infra, err = encore.ParseInfra(text, a.Language); err != nil {
			return out, fault.New(fault.KindOf(err), out.Infra, err)
		}
		out.Unknown = append(out.Unknown, infra.Warnings()...)
		out.Databases = len(infra.Databases())
	}
	dir, err := filepath.Abs(o.OutDir)
	if err != nil {
		return out, fault.New(fault.Internal, "", err)
	}
	path, err := filepath.Abs(out.Infra)
	if err != nil {
		return out, fault.New(fault.Internal, "", err)
	}
	yaml := encore.Starter(encore.StarterOptions{App: a, Infra: infra, InfraPath: path, Environment: o.Environment, Dir: dir})
	out.YAML = string(yaml)
	return out, right(yaml)
}

func infraPath(o EncoreImport, dir string) (string, error) {
	if o.InfraPath != "" {
		return o.InfraPath, nil
	}
	for _, name := range []string{"infra.config.json", "infra-config.json"} {
		path := filepath.Join(dir, name)
		switch _, err := os.Stat(path); {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fault.New(fault.Usage, "", err)
		}
	}
	return "", nil
}

// right checks a text as dbops config check does: nobody should be given a file that dbops does not take.
func right(yaml []byte) error {
	dir, err := os.MkdirTemp("", "dbops-import-")
	if err != nil {
		return fault.New(fault.Internal, "check what was made", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, config.FileName)
	if err := os.WriteFile(path, yaml, 0o600); err != nil {
		return fault.New(fault.Internal, "check what was made", err)
	}
	if _, err := config.Load(path); err != nil {
		return fault.New(fault.Config, "make a dbops.yaml", err).
			Hint("a name or host of the infra config is not one that dbops.yaml takes: write the file by hand, dbops config init makes one to start from")
	}
	return nil
}
