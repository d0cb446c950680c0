package certs

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"dbops/internal/certs/bundle"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// writeAll puts files into a folder. First all are written beside their places, so that a full or a read-only disk changes nothing; then each
// takes its place at once.
func writeAll(dir string, files map[string][]byte, mode fs.FileMode) ([]string, error) {
	what := "write to " + dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, diskFault(what, err)
	}
	names := slices.Sorted(maps.Keys(files))
	sweep(dir, names)
	drafts := make([]*renameio.PendingFile, 0, len(names))
	defer func() {
		for _, d := range drafts {
			_ = d.Cleanup() // of those that took their places there is nothing left to clean
		}
	}()
	for _, name := range names {
		// In the folder itself: the default is a temporary folder that others use, too.
		path := filepath.Join(dir, name)
		d, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(atMost(path, mode)))
		if err != nil {
			return nil, diskFault(what, err)
		}
		drafts = append(drafts, d)
		if _, err = d.Write(files[name]); err == nil {
			err = d.Sync()
		}
		if err != nil {
			return nil, diskFault(what, err)
		}
	}
	out := make([]string, 0, len(names))
	for i, d := range drafts {
		if err := d.CloseAtomicallyReplace(); err != nil {
			return nil, diskFault(what, err)
		}
		out = append(out, filepath.Join(dir, names[i]))
	}
	return out, nil
}

// atMost is a mode, less what a file that is there does not have: somebody may have closed it because of what else is in it.
func atMost(path string, mode fs.FileMode) fs.FileMode {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		return mode & info.Mode().Perm()
	}
	return mode
}

func notCA(c *x509.Certificate) bool { return !c.IsCA }

// sweep removes the drafts of files that a killed process left.
func sweep(dir string, names []string) {
	entries, _ := os.ReadDir(dir) // if it cannot be read, writing will say why
	for _, e := range entries {
		for _, name := range names {
			tail, ok := strings.CutPrefix(e.Name(), "."+name)
			if ok && tail != "" && strings.Trim(tail, "0123456789") == "" {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// diskFault says what a disk that does not take a file needs.
func diskFault(what string, err error) error {
	f := fault.New(fault.Failed, what, err)
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return f.Hint("name a folder that this user can write to: --dir")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return f.Hint("make room, or name another folder: --dir")
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return f.Hint("a file is where a folder should be: name another with --dir")
	}
	return f.Hint("name another folder with --dir")
}

// trustStore is certificates as Java trusts them, under the names that they bear.
func trustStore(certs []*x509.Certificate) ([]byte, error) {
	entries := make([]pkcs12.TrustStoreEntry, 0, len(certs))
	for i, c := range certs {
		alias := fmt.Sprintf("%s %s", strings.ToLower(bundle.Name(c)), bundle.Fingerprint(c)[:8])
		if i > 0 && slices.ContainsFunc(entries, func(e pkcs12.TrustStoreEntry) bool { return e.FriendlyName == alias }) {
			alias = fmt.Sprintf("%s %d", alias, i)
		}
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: c, FriendlyName: alias})
	}
	return pkcs12.Modern.EncodeTrustStoreEntries(entries, trustPassword)
}

// parseKey reads a private key in any of the forms that clouds give.
func parseKey(key secret.Value) (any, error) {
	block, _ := pem.Decode([]byte(key.Reveal()))
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
	} {
		if k, err := parse(block.Bytes); err == nil {
			return k, nil
		}
	}
	return nil, errors.New("the key is of an unknown form") // what a parser says may quote it
}
