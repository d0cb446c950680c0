package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// entry is one object of an archive that pg_dump wrote in its custom format, as pg_restore would make it.
type entry struct {
	id        int    // within the archive
	class     uint32 // the source's catalogue that describes it, and its row there
	oid       uint32
	tag       string
	desc      string // what kind of thing: TABLE, INDEX, FK CONSTRAINT, ...
	section   int
	defn      string
	drop      string
	namespace string
	tableam   string
	relkind   byte
	owner     string
	deps      []int
}

// The sections, in the archive's numbers.
const (
	sectionNone = 1 + iota
	sectionPre
	sectionData
	sectionPost
)

// The versions of the format that are known: those of pg_dump 14 to 18.
const (
	oldestFormat    = 0x010e
	compressedByte  = 0x010f // the header names the compression by a byte
	withRelkind     = 0x0110
	newestFormat    = 0x0110
	mostEntries     = 5_000_000
	longestText     = 1 << 30
	customFormat    = 1
	mostIntegerSize = 8
)

var errArchive = errors.New("pg_dump wrote an archive that cannot be read")

// reader reads the archive's integers and texts.
type reader struct {
	b       *bytes.Reader
	intSize int
	offSize int
	err     error
}

func (r *reader) byte() byte {
	c, err := r.b.ReadByte()
	if err != nil && r.err == nil {
		r.err = err
	}
	return c
}

func (r *reader) int() int {
	sign := r.byte()
	n := 0
	for i := range r.intSize {
		n |= int(r.byte()) << (8 * i)
	}
	if sign != 0 {
		return -n
	}
	return n
}

// text is a text, and false where there is none.
func (r *reader) text() (string, bool) {
	n := r.int()
	switch {
	case r.err != nil || n < 0:
		return "", false
	case n > longestText || n > r.b.Len():
		r.err = io.ErrUnexpectedEOF
		return "", false
	}
	s := make([]byte, n)
	if _, err := io.ReadFull(r.b, s); err != nil && r.err == nil {
		r.err = err
	}
	return string(s), true
}

func (r *reader) str() string {
	s, _ := r.text()
	return s
}

func (r *reader) number() uint32 {
	n, err := strconv.ParseUint(r.str(), 10, 32)
	if err != nil && r.err == nil {
		r.err = err
	}
	return uint32(n)
}

// readArchive returns the table of contents, in the order in which things can be made.
func readArchive(b []byte) ([]entry, error) {
	r := &reader{b: bytes.NewReader(b)}
	version, err := r.header()
	if err != nil {
		return nil, err
	}
	n := r.int()
	if r.err != nil || n < 0 || n > mostEntries {
		return nil, errArchive
	}
	var all []entry
	for range n {
		e := r.entry(version)
		if r.err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", errArchive, len(all)+1, r.err)
		}
		all = append(all, e)
	}
	// What has no section of its own, such as a comment, is made with what is before it.
	current := sectionPre
	for i := range all {
		if all[i].section == sectionNone {
			all[i].section = current
		}
		current = all[i].section
	}
	return all, nil
}

func (r *reader) header() (version int, err error) {
	magic := make([]byte, 5)
	if _, err := io.ReadFull(r.b, magic); err != nil || string(magic) != "PGDMP" {
		return 0, fmt.Errorf("%w: it is none", errArchive)
	}
	version = int(r.byte())<<8 | int(r.byte())
	_ = r.byte() // of the revision
	r.intSize, r.offSize = int(r.byte()), int(r.byte())
	format := r.byte()
	if r.err != nil || r.intSize < 1 || r.intSize > mostIntegerSize || r.offSize < 1 || r.offSize > mostIntegerSize {
		return 0, errArchive
	}
	if version < oldestFormat || version > newestFormat || format != customFormat {
		return 0, fmt.Errorf("%w: its format is %d.%d, and %d.%d to %d.%d are known", errArchive,
			version>>8, version&0xff, oldestFormat>>8, oldestFormat&0xff, newestFormat>>8, newestFormat&0xff)
	}
	if version >= compressedByte {
		_ = r.byte()
	} else {
		_ = r.int()
	}
	for range 7 { // when it was made
		_ = r.int()
	}
	for range 3 { // of what, by what
		_ = r.str()
	}
	if r.err != nil {
		return 0, fmt.Errorf("%w: %w", errArchive, r.err)
	}
	return version, nil
}

func (r *reader) entry(version int) entry {
	e := entry{id: r.int()}
	_ = r.int() // whether it has data
	e.class, e.oid = r.number(), r.number()
	e.tag, e.desc = r.str(), r.str()
	e.section = r.int()
	e.defn, e.drop = r.str(), r.str()
	_ = r.str() // how its data are copied
	e.namespace = r.str()
	_ = r.str() // its tablespace: a cloud has one
	e.tableam = r.str()
	if version >= withRelkind {
		e.relkind = byte(r.int())
	}
	e.owner = r.str()
	_ = r.str() // whether it has OIDs
	for {
		s, ok := r.text()
		if !ok {
			break
		}
		d, err := strconv.Atoi(s)
		if err != nil {
			r.err = err
			break
		}
		e.deps = append(e.deps, d)
	}
	_ = r.byte() // where its data are
	for range r.offSize {
		_ = r.byte()
	}
	return e
}
