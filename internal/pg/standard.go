package pg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgpassfile"

	"dbops/internal/secret"
)

// StandardLogin is the user and password that the standard PG variables give for a database: user, if not given, is PGUSER;
// the password is PGPASSWORD, else the matching line of PGPASSFILE (~/.pgpass). getenv is os.Getenv outside tests. A user or a
// password that is set nowhere is empty.
func StandardLogin(getenv func(string) string, host string, port uint16, database, user string) (string, secret.Value, error) {
	if user == "" {
		user = getenv("PGUSER")
	}
	if user == "" {
		return "", secret.Value{}, nil
	}
	if pw := getenv("PGPASSWORD"); pw != "" {
		return user, secret.New(pw), nil
	}
	path := getenv("PGPASSFILE")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return user, secret.Value{}, nil //nolint:nilerr // no home folder, no ~/.pgpass
		}
		path = filepath.Join(home, ".pgpass")
	}
	file, err := pgpassfile.ReadPassfile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return user, secret.Value{}, nil
	}
	if err != nil {
		return "", secret.Value{}, err
	}
	return user, secret.New(file.FindPassword(host, strconv.Itoa(int(port)), database, user)), nil
}
