package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"dbops/internal/fault"
	"dbops/internal/secret"
	"dbops/internal/state/db"
)

// Keys is what a process keeps outside of the store, so that the store alone cannot deceive it.
//
// Every user and runner has an Ed25519 key of its own, whose public half is registered in the store by an entry of the log. Without
// Trusted each registered key counts: that finds accidents, and whoever changes rows without being able to sign. Somebody who may
// write to the store could register a key first; against that the team writes its keys into dbops.yaml, which is reviewed.
// Nobody's signature proves that history was not rewritten by the one who signs: that is found by everybody else's Witness.
type Keys struct {
	// File holds this process's private key; it is made if it is not there, for its owner only. Without one the log is read-only.
	File string
	// Name is a new key's name; user@host by default.
	Name string
	// Trusted are verifier keys. If there is one, no others count.
	Trusted []string
	// Witness is the file that remembers the last checkpoint seen of each store. Without one, going back is not noticed.
	Witness string
}

// Names in table meta.
const (
	metaOrigin = "audit_origin"
	metaKey    = "audit_key:" // and the verifier key's name and hash
)

// loadKey reads the key file, or makes it. Of two processes that make it at once one wins, and both use its key.
func loadKey(file, name string) (note.Signer, string, error) {
	op := "read the audit key " + file
	text, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(file, name); err == nil {
			text, err = readKey(file)
		}
	}
	if errors.Is(err, errOpenKey) {
		return nil, "", fault.New(fault.Denied, op, err).Hint("chmod 600 %s; if others may have read it, move it away and dbops makes a new one", file)
	}
	if err != nil {
		return nil, "", fault.New(fault.Config, op, err).Hint("dbops must be able to read and write it, and its folder")
	}
	signer, err := note.NewSigner(text.Reveal())
	if err != nil { // it holds no part of the key
		return nil, "", fault.New(fault.Config, op, err).Hint("restore it from a backup, or move it away and dbops makes a new one")
	}
	public, err := publicKey(text)
	if err != nil {
		return nil, "", fault.New(fault.Config, op, err)
	}
	return signer, public, nil
}

var errOpenKey = errors.New("others may read it")

// maxKeyFile is more than any key has.
const maxKeyFile = 4 << 10

func readKey(file string) (secret.Value, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return secret.Value{}, err
	case !info.Mode().IsRegular() || info.Size() > maxKeyFile:
		return secret.Value{}, errors.New("it is not a key file")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return secret.Value{}, fmt.Errorf("%w: its mode is %#o", errOpenKey, info.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(strings.TrimSpace(string(b))), nil
}

// makeKey writes a new key beside its final name and links it there: a name that exists holds a whole key, and is never replaced.
func makeKey(file, name string) (err error) {
	if name == "" {
		name = defaultName()
	}
	private, _, err := note.GenerateKey(rand.Reader, keyName(name))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".audit-key-*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.WriteString(private + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Link(tmp.Name(), file); errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func defaultName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if u, err := user.Current(); err == nil {
		return u.Username + "@" + host
	}
	return host
}

// keyName is name without what the format does not allow in one.
func keyName(name string) string {
	return cut(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' {
			return '_'
		}
		return r
	}, name), 128)
}

// publicKey is the verifier key of a private key.
func publicKey(private secret.Value) (string, error) {
	parts := strings.SplitN(private.Reveal(), "+", 5) // PRIVATE+KEY+name+hash+seed
	if len(parts) != 5 {
		return "", errors.New("malformed key")
	}
	return verifierKey(parts[2], parts[4])
}

// origin is the store's name in every checkpoint. It is made once, at random, and never changes.
func origin(ctx context.Context, q db.Querier) (string, error) {
	var name string
	_, err := db.One(ctx, q, []any{&name}, "select value from meta where name = $1", metaOrigin)
	return name, err
}

func makeOrigin(ctx context.Context, q db.Querier) error {
	b := make([]byte, 12)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	_, err := q.Exec(ctx, "insert into meta (name, value) values ($1, $2) on conflict do nothing", metaOrigin, "dbops/"+hex.EncodeToString(b))
	return err
}

// registered are the verifier keys in the store.
func registered(ctx context.Context, q db.Querier) ([]string, error) {
	var keys []string
	err := db.Each(ctx, q, func(r db.Rows) error {
		var key string
		if err := r.Scan(&key); err != nil {
			return err
		}
		keys = append(keys, key)
		return nil
	}, "select value from meta where name like $1 order by name", metaKey+"%")
	return keys, err
}

// verifierKey is the public half of a key in the note format: name, and the base64 of the algorithm's byte and the seed.
func verifierKey(name, seed64 string) (string, error) {
	seed, err := base64.StdEncoding.DecodeString(seed64)
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", errors.New("malformed key")
	}
	public, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("malformed key")
	}
	return note.NewEd25519VerifierKey(name, public)
}
