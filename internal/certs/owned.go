package certs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"dbops/internal/certs/bundle"
)

// mark begins the line above an entry of pg_service.conf that dbops wrote.
const mark = "# written by dbops certs"

// maxOwn is the size of a file beyond which dbops did not write it.
const maxOwn = 8 << 20

// serviceOf is the name of an instance's entry in pg_service.conf.
func serviceOf(env, instance string) string {
	if env == "" && instance == "" {
		return defaultService
	}
	return env + "-" + instance
}

// strangers tells why a kit with that entry does not belong into a folder: each of its files that is there and that dbops did not write. None: it
// belongs there. Entries of others in pg_service.conf are no strangers: they are kept.
func strangers(dir, service string) (all []string) {
	add := func(name, why string) { all = append(all, name+" "+why) }
	text, why := readOwn(filepath.Join(dir, FileService))
	entries := parseServices(text)
	known := false // the folder is one of dbops's
	if why != "" {
		add(FileService, why)
	}
	for _, e := range entries {
		known = known || e.own
		switch {
		case e.name == service && !e.own:
			add(FileService, "has an entry ["+service+"] of somebody else")
		case e.name != service && e.own && e.values["sslrootcert"] == filepath.Join(dir, FileRoots):
			add(FileRoots, "belongs to the entry ["+e.name+"]")
		}
	}
	if n := len(slices.DeleteFunc(slices.Clone(entries), func(e serviceEntry) bool { return e.name != service })); n > 1 {
		add(FileService, fmt.Sprintf("has %d entries [%s]", n, service))
	}
	roots, why := readOwn(filepath.Join(dir, FileRoots))
	switch {
	case why != "":
		add(FileRoots, why)
	case len(roots) > 0:
		certs, err := bundle.Parse(roots)
		if err != nil || !bytes.Equal(roots, bundle.Encode(certs)) {
			add(FileRoots, "is of somebody else")
		} else {
			known = true
		}
	}
	trust, why := readOwn(filepath.Join(dir, FileTrust))
	switch {
	case why != "":
		add(FileTrust, why)
	case len(trust) > 0:
		if certs, err := pkcs12.DecodeTrustStore(trust, trustPassword); err != nil || !known || slices.ContainsFunc(certs, notCA) {
			add(FileTrust, "is of somebody else")
		}
	}
	return all
}

// readOwn reads a file that dbops may have written; none is empty. why says what forbids to replace it.
func readOwn(path string) (text []byte, why string) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // writing will say why
		return nil, ""
	case err != nil:
		return nil, "cannot be looked at"
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, "is a link"
	case !info.Mode().IsRegular():
		return nil, "is no file"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, "cannot be read"
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, maxOwn+1))
	if err != nil || len(text) > maxOwn {
		return nil, "cannot be read"
	}
	return text, ""
}

// serviceEntry is an entry of pg_service.conf: the lines from and before to, its mark included.
type serviceEntry struct {
	name     string
	own      bool
	values   map[string]string
	from, to int
}

// parseServices reads the entries of a pg_service.conf as libpq does. Comments and empty lines at the end of one belong to what follows.
func parseServices(text []byte) (all []serviceEntry) {
	lines := strings.Split(string(text), "\n")
	last := 0 // after the last line that is of an entry
	for i, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "["):
			name, _, _ := strings.Cut(line[1:], "]")
			e := serviceEntry{name: name, values: map[string]string{}, from: i}
			if i > last && strings.HasPrefix(lines[i-1], mark) {
				e.own, e.from = true, i-1
			}
			all = append(all, e)
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case len(all) > 0:
			k, v, _ := strings.Cut(line, "=")
			all[len(all)-1].values[k] = v
		}
		last = i + 1
		if len(all) > 0 {
			all[len(all)-1].to = last
		}
	}
	return all
}

// mergeService puts an entry into a pg_service.conf, in the place of the one of that name if there is one; everything else stays as it is.
func mergeService(text []byte, service, entry string) string {
	for _, e := range parseServices(text) {
		if e.name != service {
			continue
		}
		lines := strings.SplitAfter(string(text), "\n")
		return strings.Join(lines[:e.from], "") + entry + strings.Join(lines[e.to:], "")
	}
	before := string(text)
	if before != "" && !strings.HasSuffix(before, "\n") {
		before += "\n"
	}
	if before != "" {
		before += "\n"
	}
	return before + entry
}
