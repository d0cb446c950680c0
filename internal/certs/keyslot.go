package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// clientFiles are those of a client certificate, the key first.
func clientFiles() []string {
	return []string{FileKey, FileCert, FileKeyDER, FileP12, FileP12Secret}
}

// inTheWay are the files of another client certificate in a folder, and why a key cannot be stored there; empty if it can, as far as can be told
// without writing.
func inTheWay(dir string) (found []string, closed string) {
	for _, name := range clientFiles() {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			found = append(found, name)
		}
	}
	for at := dir; ; at = filepath.Dir(at) { // the nearest part of the path that is there
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return found, err.Error()
		case !info.IsDir():
			return found, at + " is not a folder"
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return found, fmt.Sprintf("%s: %v", at, err)
		}
		return found, exposed(at, info.Mode(), at == dir)
	}
}

// exposedAt is exposed for the nearest part of a path that is there.
func exposedAt(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil || !info.IsDir(): // writing will say why
			return ""
		}
		return exposed(at, info.Mode(), at == dir)
	}
}

// exposed tells that others can put files into a folder, or, above the one that is meant, take folders away.
func exposed(dir string, mode fs.FileMode, meant bool) string {
	switch {
	case meant && mode.Perm()&0o022 != 0:
		return fmt.Sprintf("others can write to it (mode %04o): chmod go-w %s", mode.Perm(), dir)
	case mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0:
		return fmt.Sprintf("everybody can move what is in %s (mode %04o)", dir, mode.Perm())
	}
	return ""
}

// room is what is taken of the disk before a key is asked for, so that it will not be full afterwards.
const room = 16 << 10

// slot is the place for one run's key: a file of the disk that is there, with room in it, before the key is.
type slot struct {
	dir   string
	file  *os.File
	fresh bool      // no earlier try made it
	since time.Time // when the first try of the run began
}

// openSlot makes the place, or finds the one of an earlier try.
func openSlot(dir, run string) (*slot, error) {
	what := "make a place for the key in " + dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, diskFault(what, err)
	}
	path := filepath.Join(dir, "."+FileKey+"-"+run)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskFault(what, err)
	}
	info, err := f.Stat()
	fresh := err == nil && info.Size() == 0 // anything else may be the key
	if fresh {
		_, err = f.WriteAt(make([]byte, room), 0)
	}
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Sync(), syncDir(dir))
	}
	if err == nil {
		info, err = f.Stat()
	}
	s := &slot{dir: dir, file: f, fresh: fresh}
	if err != nil {
		s.giveBack()
		return nil, diskFault(what, err)
	}
	s.since = info.ModTime()
	return s, nil
}

// lostSlot stands for a place that cannot be had any more. It holds no key, and no certificate is the run's own for its sake.
func lostSlot(dir string) *slot {
	return &slot{dir: dir, since: time.Now().AddDate(100, 0, 0)}
}

func (s *slot) path(name string) string { return filepath.Join(s.dir, name) }

func (s *slot) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// giveBack removes a place that nothing was asked for yet.
func (s *slot) giveBack() {
	s.close()
	if s.fresh {
		_ = os.Remove(s.file.Name())
	}
}

// keep stores the key for good, under its name. Another file of that name is not overwritten.
func (s *slot) keep(key secret.Value) error {
	what := "store the key in " + s.dir
	if _, err := parseKey(key); err != nil {
		return fault.New(fault.Failed, what, err)
	}
	text := []byte(key.Reveal())
	if _, err := s.file.WriteAt(text, 0); err != nil {
		return diskFault(what, err)
	}
	if err := errors.Join(s.file.Truncate(int64(len(text))), s.file.Sync()); err != nil {
		return diskFault(what, err)
	}
	if err := s.named(); err != nil {
		return diskFault(what, err)
	}
	return nil
}

// named gives the key its name, unless another file has it.
func (s *slot) named() error {
	err := os.Link(s.file.Name(), s.path(FileKey)) // fails where there is one, unlike a rename
	if err == nil {
		return errors.Join(os.Remove(s.file.Name()), syncDir(s.dir))
	}
	if _, there := os.Lstat(s.path(FileKey)); !errors.Is(there, fs.ErrNotExist) {
		return err
	}
	return errors.Join(os.Rename(s.file.Name(), s.path(FileKey)), syncDir(s.dir)) // a file system without links
}

// holdsKeyOf tells whether the folder has the key of a certificate, stored by an earlier try.
func (s *slot) holdsKeyOf(c cloud.ClientCert) bool {
	if s.file == nil {
		return false
	}
	for _, name := range []string{s.path(FileKey), s.file.Name(), s.unused()} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if _, err := tls.X509KeyPair([]byte(c.PEM), text); err != nil {
			continue
		}
		if name == s.path(FileKey) {
			_ = os.Remove(s.file.Name()) // the place is not needed any more
			return true
		}
		return s.keep(secret.New(string(text))) == nil // it was written, and the process died before it had its name
	}
	return false
}

// unused is where a key is set aside.
func (s *slot) unused() string { return s.file.Name() + ".unused" }

// setAside renames a key that no certificate of the instance belongs to: one whose making was given up by the provider.
func (s *slot) setAside() error {
	err := os.Rename(s.path(FileKey), s.unused())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskFault("set the key of an earlier try aside", err)
	}
	return nil
}

// remove takes the files of the client certificate away, and the place itself.
func (s *slot) remove() error {
	if s.file == nil {
		return nil
	}
	var errs []error
	for _, path := range append([]string{s.file.Name(), s.unused()}, s.paths()...) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return diskFault("remove the files of the client certificate from "+s.dir, err)
	}
	return nil
}

func (s *slot) paths() (all []string) {
	for _, name := range clientFiles() {
		all = append(all, s.path(name))
	}
	return all
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readKey(dir string) (secret.Value, error) {
	text, err := os.ReadFile(filepath.Join(dir, FileKey))
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(string(text)), nil
}

// writeClient writes a client's certificate, and its key in the other forms. The password of the PKCS#12 file is made here, and kept from one
// writing to the next.
func writeClient(dir string, cert cloud.ClientCert, key secret.Value) error {
	what := "write the client certificate to " + dir
	c, err := parseOne(cert.PEM)
	if err != nil {
		return fault.New(fault.Internal, what, err)
	}
	k, err := parseKey(key)
	if err != nil {
		return fault.New(fault.Failed, what, err)
	}
	if !belongs(c, k) {
		return fault.Newf(fault.Failed, what, "the key in %s does not belong to it", FileKey)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return fault.Newf(fault.Internal, what, "the key cannot be written as PKCS#8")
	}
	password, err := p12Password(dir)
	if err != nil {
		return diskFault(what, err)
	}
	p12, err := pkcs12.Modern.Encode(k, c, nil, password.Reveal())
	if err != nil {
		return fault.Newf(fault.Internal, what, "the key cannot be written as PKCS#12")
	}
	_, err = writeAll(dir, map[string][]byte{FileKeyDER: der, FileP12: p12, FileP12Secret: []byte(password.Reveal() + "\n")}, 0o600)
	if err != nil {
		return err
	}
	_, err = writeAll(dir, map[string][]byte{FileCert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})}, 0o644)
	return err
}

// belongs tells whether a key is that of a certificate.
func belongs(c *x509.Certificate, key any) bool {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := c.PublicKey.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(signer.Public())
}

func p12Password(dir string) (secret.Value, error) {
	text, err := os.ReadFile(filepath.Join(dir, FileP12Secret))
	switch {
	case err == nil && len(text) > 1:
		return secret.New(string(text[:len(text)-1])), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return secret.Value{}, err
	}
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return secret.Value{}, fmt.Errorf("make a password: %w", err)
	}
	return secret.New(hex.EncodeToString(b)), nil
}
