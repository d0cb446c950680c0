// Package bundle holds the CAs of Amazon RDS, by region: a reviewed copy that is part of the program, and newer ones of the user's own.
//
// RDS hands out no certificate by its API, so who logs in must have the region's CAs already. [Store.Region] is the user's copy of a
// region if there is one, else the program's; [Fetch] downloads what Amazon publishes, and [Compare] shows the difference.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

//go:embed rds/*.pem
var own embed.FS

// ErrUnknown is that neither the program nor the user has the CAs of a region.
var ErrUnknown = errors.New("the CAs of the region are not known here")

// Store finds the CAs of a region.
type Store struct {
	// Dir is where the user's own copies are, REGION.pem. Empty: there are none.
	Dir string
}

// Bundle is the CAs of one region.
type Bundle struct {
	Region string
	Certs  []*x509.Certificate
	// File is the user's copy; empty for the program's.
	File string
}

// From says where they come from.
func (b *Bundle) From() string {
	if b.File != "" {
		return b.File
	}
	return "dbops's own copy of the CAs of RDS in " + b.Region
}

// Pool is the CAs as those that are trusted.
func (b *Bundle) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range b.Certs {
		p.AddCert(c)
	}
	return p
}

// region is what a region's name looks like; it becomes the name of a file.
var region = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d{1,2}$`)

// ValidRegion tells whether a text may be the name of a region.
func ValidRegion(name string) bool { return region.MatchString(name) }

// Region returns the CAs of a region, the user's copy before the program's. A region that neither has is [ErrUnknown]; a copy that cannot be
// read is an error, for it would be wrong to trust something else without a word.
func (s Store) Region(name string) (*Bundle, error) {
	if !ValidRegion(name) {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	if s.Dir != "" {
		file := s.file(name)
		text, err := os.ReadFile(file)
		switch {
		case err == nil:
			certs, err := Parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			return &Bundle{name, certs, file}, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return Own(name)
}

// Own returns the program's copy of a region's CAs.
func Own(name string) (*Bundle, error) {
	text, err := own.ReadFile("rds/" + name + ".pem")
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	certs, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return &Bundle{Region: name, Certs: certs}, nil
}

// Regions are those of which the program has a copy, in order.
func Regions() []string {
	entries, err := own.ReadDir("rds")
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".pem"))
	}
	slices.Sort(out)
	return out
}

func (s Store) file(name string) string { return filepath.Join(s.Dir, name+".pem") }

// Previous is where the copy is that a user's copy took the place of.
func Previous(file string) string { return file + ".previous" }

// Save keeps the CAs of a region as the user's copy, whole or not at all; the one of before stays beside it. It returns the file.
func (s Store) Save(name string, certs []*x509.Certificate) (string, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return "", err
	}
	before, err := os.ReadFile(s.file(name))
	if err == nil {
		err = renameio.WriteFile(Previous(s.file(name)), before, 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return s.file(name), renameio.WriteFile(s.file(name), Encode(certs), 0o644)
}

const maxBundle = 4 << 20

// Parse reads certificates in PEM. Anything else between the markers, or none, is an error; text around them is not.
func Parse(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxBundle {
		return nil, errors.New("it is far too large for CA certificates")
	}
	var all []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s, not only certificates", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate in PEM format")
	}
	if n := bytes.Count(text, []byte("-----BEGIN ")); n != len(all) { // the decoder passes over what is broken
		return nil, fmt.Errorf("it is damaged: %d of its %d blocks are whole", len(all), n)
	}
	return all, nil
}

// Encode is certificates in PEM, each under its name, its end and its fingerprint.
func Encode(certs []*x509.Certificate) []byte {
	var b bytes.Buffer
	for i, c := range certs {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n# until %s\n# SHA-256 %s\n", Name(c), c.NotAfter.UTC().Format(time.RFC3339), Fingerprint(c))
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // into memory
	}
	return b.Bytes()
}

// Name is what a certificate is called: its common name without anything that could break a line.
func Name(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
}

// Fingerprint is the SHA-256 of a certificate in hex.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
