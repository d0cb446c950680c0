package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
)

// Folder is where somebody had a kit of an instance written to.
type Folder struct {
	Dir   string
	Roots []*x509.Certificate
	Err   error // why they cannot be read
	// Client is the certificate of a client that is there; nil: none that can be read.
	Client *x509.Certificate
}

// Folders finds the folders with a kit of an instance: among the given ones, and in those below base.
func Folders(base string, dirs []string, env, instance string) (all []Folder) {
	dirs = slices.Clone(dirs)
	if base != "" {
		below, _ := filepath.Glob(filepath.Join(base, "*", FileService)) // the pattern is none of the user's
		for _, file := range below {
			dirs = append(dirs, filepath.Dir(file))
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		text, err := os.ReadFile(filepath.Join(dir, FileService))
		if err != nil || !slices.ContainsFunc(parseServices(text), func(e serviceEntry) bool { return e.own && e.name == serviceOf(env, instance) }) {
			continue
		}
		f := Folder{Dir: dir}
		if text, f.Err = os.ReadFile(filepath.Join(dir, FileRoots)); f.Err == nil {
			f.Roots, f.Err = bundle.Parse(text)
		}
		f.Client = clientIn(dir)
		all = append(all, f)
	}
	return all
}

// clientIn is the client certificate in a folder; nil if there is none that can be read.
func clientIn(dir string) *x509.Certificate {
	text, err := os.ReadFile(filepath.Join(dir, FileCert))
	if err != nil {
		return nil
	}
	c, err := parseOne(string(text))
	if err != nil {
		return nil
	}
	return c
}

const checkFolder = "folder"

// CheckFolder tells whether clients that use the files of a folder can verify the server, now and after the rotation that is under way, and whether
// the server knows their certificate.
func (s *Survey) CheckFolder(f Folder, now time.Time) []op.Finding {
	if s.Socket || s.Roots == nil {
		return nil
	}
	return append(s.checkFolderRoots(f, now), s.checkFolderClient(f)...)
}

func (s *Survey) checkFolderClient(f Folder) []op.Finding {
	if s.Told == nil || s.Provider != cloud.CloudSQL || f.Client == nil || s.Told.Client(SHA1(f.Client)) != nil {
		return nil
	}
	return []op.Finding{{
		Severity: op.Warn, Check: checkFolder, Evidence: "SHA-1 " + SHA1(f.Client),
		Text:   filepath.Join(f.Dir, FileCert) + " is worthless: the instance has no such client certificate, it was revoked",
		Remedy: removal(f.Dir) + "; another one: dbops certs create-client -e " + s.Environment + " " + s.Instance + " NAME --dir " + shell(f.Dir),
	}}
}

// removal is the command that makes a folder free for another client certificate.
func removal(dir string) string { return "rm " + shell(filepath.Join(dir, "client")) + ".*" }

func (s *Survey) checkFolderRoots(f Folder, now time.Time) []op.Finding {
	file := filepath.Join(f.Dir, FileRoots)
	stale := op.Finding{Severity: op.Warn, Check: checkFolder, Remedy: "dbops certs fetch -e " + s.Environment + " " + s.Instance + " --dir " + shell(f.Dir) + " writes it anew"}
	if f.Err != nil {
		stale.Text, stale.Evidence = file+" cannot be read", f.Err.Error()
		return []op.Finding{stale}
	}
	trusts := func(ca cloud.ServerCA) bool {
		return slices.ContainsFunc(f.Roots, func(c *x509.Certificate) bool { return is(c, ca) })
	}
	if s.Seen != nil {
		at := now
		if end := s.Seen.Chain[0].NotAfter; now.After(end) { // which is told elsewhere
			at = end.Add(-time.Minute)
		}
		if _, err := s.Seen.Root(Expect{Roots: f.Roots}, at); err != nil {
			stale.Text, stale.Evidence = file+" does not verify the server", "it is signed by "+issuer(s.Seen.Chain[0])
			return []op.Finding{stale}
		}
	} else if s.Told != nil && s.Told.CA(cloud.CAActive) != nil && !trusts(*s.Told.CA(cloud.CAActive)) {
		stale.Text = file + " lacks the CA of the server, " + s.Told.CA(cloud.CAActive).ID
		return []op.Finding{stale}
	}
	if s.Told == nil {
		return nil
	}
	if next := s.Told.CA(cloud.CANext); next != nil && !trusts(*next) {
		stale.Text = file + " lacks the CA to come, " + next.ID + ": its clients are locked out by the rotation"
		return []op.Finding{stale}
	}
	return nil
}

// Login is the database and the user that a folder's entry for an instance has; empty where there is none.
func Login(dir, env, instance string) (database, user string) {
	text, err := os.ReadFile(filepath.Join(dir, FileService))
	if err != nil {
		return "", ""
	}
	for _, e := range parseServices(text) {
		if e.own && e.name == serviceOf(env, instance) {
			return e.values["dbname"], e.values["user"]
		}
	}
	return "", ""
}
