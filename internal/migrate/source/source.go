// Package source reads a folder of migrations: golang-migrate's layout (000001_name.up.sql), and Encore's, where the name may be missing.
//
// Nothing in a folder is passed over in silence: what looks like a migration and is none, two files of one version, and files that a
// server would not take are [Problem]s.
package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"dbops/internal/fault"
	"dbops/internal/migrate/split"
)

// Direction of a file.
type Direction string

// The directions.
const (
	Up   Direction = "up"
	Down Direction = "down"
)

// File is one file of a migration.
type File struct {
	Path      string
	Direction Direction
	SQL       string // without a byte order mark
	Sum       string // SHA-256 of the text with line ends of Unix, in hexadecimal

	parsed   split.File // of parsedOf, made when the folder is read
	parsedOf string
}

// Base is the file's name.
func (f *File) Base() string { return filepath.Base(f.Path) }

// Split takes the file apart. What it returns is shared, and not to be changed.
func (f *File) Split() split.File {
	if f.parsedOf == f.SQL && f.SQL != "" {
		return f.parsed
	}
	return split.Read(f.SQL)
}

// Migration is one version.
type Migration struct {
	Version int64
	Name    string // "create_users"; may be empty in Encore's layout
	Digits  string // the version as the file writes it: "000012"
	Up      *File  // nil: there is none
	Down    *File
}

// String is the migration without its direction: "000012_create_users".
func (m *Migration) String() string {
	if m.Name == "" {
		return m.Digits
	}
	return m.Digits + "_" + m.Name
}

// File is that of a direction, nil without one.
func (m *Migration) File(d Direction) *File {
	if d == Up {
		return m.Up
	}
	return m.Down
}

// Problem is something wrong with a folder.
type Problem struct {
	File         string `json:"file"`
	Line, Column int    `json:"-"`
	Text         string `json:"text"`
	Remedy       string `json:"remedy,omitempty"`
	Fatal        bool   `json:"fatal"` // nothing of the folder can be run
}

func (p Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	return at + ": " + p.Text
}

// Folder is a folder of migrations, in the order of their versions.
type Folder struct {
	Path       string
	Migrations []*Migration
	Problems   []Problem
}

const maxFile = 64 << 20

// Read reads a folder. One that cannot be read is a fault.Config; what is wrong in it is in its problems.
func Read(path string) (*Folder, error) {
	op := "read the migrations in " + path
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fault.New(fault.Config, op, err).Hint("check the database's migrations in dbops.yaml")
	}
	f := &Folder{Path: path}
	versions := map[int64]*Migration{}
	for _, e := range entries {
		name, ok, problem := parse(e.Name())
		switch {
		case e.IsDir():
			f.checkFolder(e)
			continue
		case problem != nil:
			f.Problems = append(f.Problems, *problem)
			continue
		case !ok:
			continue
		}
		file, problem, err := f.read(e, name.direction)
		if err != nil {
			return nil, fault.New(fault.Config, op, err)
		}
		if problem != nil {
			f.Problems = append(f.Problems, *problem)
		}
		m, known := versions[name.version]
		if !known {
			m = &Migration{Version: name.version, Name: name.text, Digits: name.digits}
			versions[name.version] = m
			f.Migrations = append(f.Migrations, m)
		}
		f.add(m, file)
	}
	slices.SortFunc(f.Migrations, func(a, b *Migration) int { return cmp.Compare(a.Version, b.Version) })
	for _, m := range f.Migrations {
		f.checkStatements(m)
	}
	return f, nil
}

func (f *Folder) add(m *Migration, file *File) {
	at := &m.Up
	if file.Direction == Down {
		at = &m.Down
	}
	if *at != nil {
		f.Problems = append(f.Problems, Problem{
			File: file.Base(), Text: fmt.Sprintf("it has version %d, as %s has", m.Version, (*at).Base()), Remedy: "give one of them another version", Fatal: true,
		})
		return
	}
	*at = file
}

// fileName is what a file's name says.
type fileName struct {
	version      int64
	digits, text string
	direction    Direction
}

// parse reads a file's name. Of other files ok is false; what somebody may take for a migration is a problem.
func parse(base string) (n fileName, ok bool, problem *Problem) {
	bad := func(text, remedy string, fatal bool) (fileName, bool, *Problem) {
		return fileName{}, false, &Problem{File: base, Text: text, Remedy: remedy, Fatal: fatal}
	}
	digits := 0
	for digits < len(base) && base[digits] >= '0' && base[digits] <= '9' {
		digits++
	}
	n.digits = base[:digits]
	stem, sql := strings.CutSuffix(base, ".sql")
	if !sql {
		if ext := filepath.Ext(base); digits > 0 && (strings.HasSuffix(strings.TrimSuffix(base, ext), ".up") || strings.HasSuffix(strings.TrimSuffix(base, ext), ".down")) {
			return bad("its name does not end in .sql: golang-migrate would run it, dbops does not", "rename it, or move it elsewhere", true)
		}
		return n, false, nil
	}
	n.direction = Direction(strings.TrimPrefix(filepath.Ext(stem), "."))
	stem = strings.TrimSuffix(stem, "."+string(n.direction))
	if n.direction != Up && n.direction != Down {
		return bad("it is no migration: its name does not end in .up.sql or .down.sql", "rename it, or move it elsewhere", false)
	}
	if digits == 0 {
		return bad("it is no migration: its name does not begin with a version", "rename it to VERSION_name."+string(n.direction)+".sql", false)
	}
	n.text = stem[digits:]
	if n.text != "" {
		if n.text[0] != '_' {
			return bad("it is no migration: no _ follows the version", "rename it to "+n.digits+"_"+strings.TrimLeft(n.text, "-. ")+"."+string(n.direction)+".sql", false)
		}
		n.text = n.text[1:]
	}
	v, err := strconv.ParseUint(n.digits, 10, 64)
	if err != nil || v > math.MaxInt64 {
		return bad("its version is too large", fmt.Sprintf("the largest is %d", int64(math.MaxInt64)), true)
	}
	n.version = int64(v)
	return n, true, nil
}

func (f *Folder) checkFolder(e fs.DirEntry) {
	inner, err := os.ReadDir(filepath.Join(f.Path, e.Name()))
	if err != nil {
		return
	}
	for _, i := range inner {
		if _, ok, _ := parse(i.Name()); ok {
			f.Problems = append(f.Problems, Problem{
				File: e.Name() + "/" + i.Name(), Text: "it is in a folder of its own, which is not read", Remedy: "name that folder in dbops.yaml as well, or move the file",
			})
			return
		}
	}
}

var bom = []byte("\xef\xbb\xbf")

// read reads one file. What is wrong with its text is a problem.
func (f *Folder) read(e fs.DirEntry, d Direction) (*File, *Problem, error) {
	path := filepath.Join(f.Path, e.Name())
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	fatal := func(text, remedy string) *Problem {
		return &Problem{File: e.Name(), Text: text, Remedy: remedy, Fatal: true}
	}
	file := &File{Path: path, Direction: d}
	if !info.Mode().IsRegular() {
		return file, fatal("it is not a regular file", "put a file in its place"), nil
	}
	if info.Size() > maxFile {
		return file, fatal(fmt.Sprintf("it has %d MB, which is no migration", info.Size()>>20), "load data outside of migrations"), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	b = bytes.TrimPrefix(b, bom)
	sum := sha256.Sum256(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
	file.SQL, file.Sum = string(b), hex.EncodeToString(sum[:])
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		return file, fatal("it is UTF-16", "save it as UTF-8"), nil
	case !utf8.Valid(b):
		line, column := split.Place(file.SQL, invalidAt(b))
		p := fatal("it is not UTF-8", "save it as UTF-8")
		p.Line, p.Column = line, column
		return file, p, nil
	case bytes.IndexByte(b, 0) >= 0:
		return file, fatal("it holds a byte of zero, which PostgreSQL takes nowhere", "save it as text"), nil
	}
	return file, nil, nil
}

// invalidAt is where a text stops being UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// checkStatements finds what no server takes, and files that do nothing.
func (f *Folder) checkStatements(m *Migration) {
	for _, file := range []*File{m.Up, m.Down} {
		if file == nil {
			continue
		}
		read := split.Read(file.SQL)
		file.parsed, file.parsedOf = read, file.SQL
		for _, p := range read.Problems {
			f.Problems = append(f.Problems, Problem{File: file.Base(), Line: p.Line, Column: p.Column, Text: p.Text, Remedy: p.Remedy, Fatal: true})
		}
		if o := read.Open; o != nil {
			f.Problems = append(f.Problems, Problem{
				File: file.Base(), Line: o.Line, Column: o.Column, Text: "a transaction is begun and not ended: what is in it would be lost", Remedy: "end it with COMMIT", Fatal: true,
			})
		}
		if u := read.Undoes; u != nil {
			f.Problems = append(f.Problems, Problem{File: file.Base(), Line: u.Line, Column: u.Column, Text: "it takes back what it did in the transaction before", Remedy: "leave out what is not meant"})
		}
		if file.SQL == "" {
			f.Problems = append(f.Problems, Problem{File: file.Base(), Text: "it is empty: running it changes the version and nothing else", Remedy: "say in a comment why nothing is to be done"})
		}
	}
	if m.Up == nil {
		f.Problems = append(f.Problems, Problem{
			File: m.Down.Base(), Text: "there is no file that goes up with it: going up changes the version and nothing else", Remedy: "bring " + m.String() + ".up.sql",
		})
	}
}

// Fatal returns the first problem because of which nothing of the folder can be run.
func (f *Folder) Fatal() (Problem, bool) {
	i := slices.IndexFunc(f.Problems, func(p Problem) bool { return p.Fatal })
	if i < 0 {
		return Problem{}, false
	}
	return f.Problems[i], true
}

// Find returns the migration of a version, and its place in the order.
func (f *Folder) Find(version int64) (*Migration, int, bool) {
	i, ok := slices.BinarySearchFunc(f.Migrations, version, func(m *Migration, v int64) int { return cmp.Compare(m.Version, v) })
	if !ok {
		return nil, i, false
	}
	return f.Migrations[i], i, true
}

// Last is the newest version, false for an empty folder.
func (f *Folder) Last() (*Migration, bool) {
	if len(f.Migrations) == 0 {
		return nil, false
	}
	return f.Migrations[len(f.Migrations)-1], true
}
