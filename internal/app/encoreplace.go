package app

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"dbops/internal/config"
	"dbops/internal/encore"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// encoreStore is an infra.config.json as a place of delivery. Its versions are kept as those of a file beside it; the current one is
// patched into the config, inline, so that a reader of the config never sees a pending one.
type encoreStore struct {
	secret.Store
	at config.EncorePlace
}

// credentialFile is where the versions are kept, beside the config.
func credentialFile(e config.EncorePlace) secret.Ref {
	return secret.Ref{Scheme: secret.SchemeFile, Name: e.Path + ".credential"}
}

// Promote makes a version current, and patches it into the config. Repeated, it patches what is not there yet.
func (s encoreStore) Promote(ctx context.Context, r secret.Ref, from, to string) error {
	if err := s.Store.Promote(ctx, r, from, to); err != nil {
		return err
	}
	what := "deliver to " + s.at.Path
	if from == "" {
		if err := s.keep(what); err != nil {
			return err
		}
	}
	v, err := s.Read(ctx, r, to)
	if err != nil {
		return err
	}
	var p struct {
		Username, Password string
		Databases          map[string]json.RawMessage
	}
	if json.Unmarshal([]byte(v.Reveal()), &p) != nil || p.Username == "" || len(p.Databases) == 0 { // its error could quote the text
		return fault.Newf(fault.Invalid, what, "the credential is no JSON object with username, password and databases").
			Hint("deliver to another place first: what dbops creds issue writes there has all of it")
	}
	var all []encore.Delivery // at once: a container does not read a file of which half is new
	for database := range p.Databases {
		all = append(all, encore.Delivery{
			Database: database, Change: encore.Change{Username: p.Username, Password: secret.New(p.Password), Inline: true},
		})
	}
	_, err = encore.Deliver(ctx, s.at.Path, encore.Language(s.at.Language), all...)
	return err
}

// keep copies the config as it was before dbops, once: it may hold a login that nobody has written down elsewhere.
func (s encoreStore) keep(what string) error {
	copied := s.at.Path + ".before-dbops"
	text, err := os.ReadFile(s.at.Path)
	if err != nil {
		return nil //nolint:nilerr // the delivery says what is wrong with it
	}
	if _, err := os.Lstat(copied); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := renameio.WriteFile(copied, text, 0o600, renameio.WithTempDir(filepath.Dir(copied))); err != nil {
		return fault.New(fault.Failed, what, err).Hint("the config is copied before it is changed for the first time")
	}
	return nil
}
