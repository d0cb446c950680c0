package source

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dbops/internal/fault"
)

// Numbering is how versions follow each other.
type Numbering string

// The numberings.
const (
	Sequence  Numbering = "sequence"  // 000001, 000002
	Timestamp Numbering = "timestamp" // 20260102150405
	Unix      Numbering = "unix"      // 1767366245
)

// Numbering is that of the folder's last migration; of an empty folder, Timestamp: two branches seldom choose the same.
func (f *Folder) Numbering() Numbering {
	last, ok := f.Last()
	if !ok {
		return Timestamp
	}
	if _, err := time.Parse(stampLayout, last.Digits); err == nil {
		return Timestamp
	}
	if len(last.Digits) == 10 && last.Version > 1e9 {
		return Unix
	}
	return Sequence
}

const (
	stampLayout = "20060102150405"
	firstWidth  = 6
)

// Create makes the two files of a new migration, after all others, and returns their paths. n is the folder's own numbering if empty.
func (f *Folder) Create(name string, n Numbering, now time.Time) (up, down string, err error) {
	what := "make a migration in " + f.Path
	text := slug(name)
	if text == "" {
		return "", "", fault.Newf(fault.Usage, what, "the name %q has no letter or digit", name)
	}
	if n == "" {
		n = f.Numbering()
	}
	digits, err := f.next(n, now)
	if err != nil {
		return "", "", fault.New(fault.Usage, what, err)
	}
	base := filepath.Join(f.Path, digits+"_"+text)
	up, down = base+".up.sql", base+".down.sql"
	if err := write(up, "-- "+name+"\n"); err != nil {
		return "", "", fault.New(fault.Failed, what, err)
	}
	if err := write(down, "-- back from: "+name+"\n"); err != nil {
		return "", "", fault.New(fault.Failed, what, err)
	}
	return up, down, nil
}

func (f *Folder) next(n Numbering, now time.Time) (string, error) {
	width, after := firstWidth, int64(0)
	if last, ok := f.Last(); ok {
		width, after = len(last.Digits), last.Version
	}
	if n == Sequence {
		if after == math.MaxInt64 {
			return "", fmt.Errorf("there is no version after %d", after)
		}
		return fmt.Sprintf("%0*d", width, after+1), nil
	}
	digits := now.UTC().Format(stampLayout)
	if n == Unix {
		digits = strconv.FormatInt(now.Unix(), 10)
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return "", err
	}
	if v <= after {
		if after-v > 100 { // not made in the same moment
			return "", fmt.Errorf("a %s of now, %s, would come before %d, the last of the folder", n, digits, after)
		}
		digits = strconv.FormatInt(after+1, 10)
	}
	return digits, nil
}

// slug is a name as files have it.
func slug(name string) string {
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return ' '
		}
	}, name)
	return strings.Join(strings.Fields(mapped), "_")
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // it is source code, for everybody
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}
