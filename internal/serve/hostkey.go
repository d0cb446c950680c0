package serve

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// HostKey reads the key that the server proves itself with. With create it makes an ed25519 key where there is none.
func HostKey(file string, create bool) (ssh.Signer, error) {
	what := "read the host key " + file
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := makeHostKey(file); err != nil {
			return nil, fault.New(fault.Config, "make the host key "+file, err).Hint("make room there, and let this user write; or name another file: --host-key FILE")
		}
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fault.New(fault.Config, what, err).Hint("make one: ssh-keygen -t ed25519 -N '' -f %s", file)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fault.New(fault.Config, what, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fault.Newf(fault.Denied, what, "others may read it").Hint("chmod 600 %s", file)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fault.New(fault.Config, what, err).Hint("it has to be a private key without a passphrase")
	}
	return key, nil
}

// makeHostKey makes a whole key or none; of two that are made at once the first stays.
func makeHostKey(file string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "dbops serve")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".ssh-host-key-") // which others may not read
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(pem.EncodeToMemory(block))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
