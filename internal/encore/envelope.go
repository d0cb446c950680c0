package encore

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const gzipPrefix = "gzip:"

// envelope is how a value of an environment variable is packed.
type envelope struct {
	base64 *base64.Encoding // nil: not encoded
	zipped bool
	header gzip.Header
	end    string // white space behind it, as echo and editors leave
}

// unpack opens base64, or gzip: and base64, in the alphabets that Encore reads: the standard one, else the one of URLs without padding.
func unpack(text string) ([]byte, envelope, error) {
	body := strings.TrimRight(text, " \t\r\n")
	e := envelope{end: text[len(body):]}
	body, e.zipped = strings.CutPrefix(body, gzipPrefix)
	var packed []byte
	for _, e.base64 = range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		b, err := e.base64.DecodeString(body)
		if err == nil {
			packed = b
			break
		}
	}
	switch {
	case body == "":
		return nil, e, errors.New("it is empty")
	case packed == nil:
		return nil, e, errors.New("it is not base64")
	case !e.zipped:
		return packed, e, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, e, errors.New("behind gzip: and base64 it is not gzip")
	}
	e.header = r.Header
	plain, err := io.ReadAll(io.LimitReader(r, MaxText+1))
	switch {
	case err != nil:
		return nil, e, errors.New("its gzip data is damaged or cut off")
	case len(plain) > MaxText:
		return nil, e, fmt.Errorf("unpacked it is larger than %d MiB", MaxText>>20)
	}
	return plain, e, nil
}

// pack is the inverse of unpack: the same alphabet, and gzip with the same header if it was gzip.
func (e envelope) pack(plain []byte) (string, error) {
	if e.base64 == nil {
		return string(plain) + e.end, nil
	}
	if !e.zipped {
		return e.base64.EncodeToString(plain) + e.end, nil
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Header = e.header
	_, err := w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		return "", fmt.Errorf("pack: %w", err)
	}
	return gzipPrefix + e.base64.EncodeToString(b.Bytes()) + e.end, nil
}
