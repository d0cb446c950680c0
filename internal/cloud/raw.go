package cloud

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Raw is v, a provider's own description, as JSON: without what is empty, and without any text under a key that names a secret. It
// is nil if v cannot be marshalled.
func Raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // identifiers and sizes keep every digit
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil
	}
	if b, err = json.Marshal(prune(tree)); err != nil {
		return nil
	}
	return b
}

// prune returns v without nulls, empty lists, empty objects and secrets; nil if nothing is left.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if _, text := e.(string); text && namesSecret(k) {
				delete(v, k)
				continue
			}
			if e = prune(e); e == nil {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		kept := v[:0]
		for _, e := range v {
			if e = prune(e); e != nil {
				kept = append(kept, e)
			}
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	case string:
		if v == "" {
			return nil
		}
	}
	return v
}

func namesSecret(key string) bool {
	key = strings.ToLower(key)
	for _, end := range []string{"password", "clientkey", "privatekey", "secretkey", "accesstoken", "passphrase"} {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return false
}

// Major is the major version of PostgreSQL in the words of either cloud or of a server: 14 for "14.23", "POSTGRES_14_9" and
// "14.23 (Debian ...)", 9 for "9.6.24". It is 0 for anything else.
func Major(version string) int {
	version = strings.TrimPrefix(version, "POSTGRES_")
	if end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		version = version[:end]
	}
	n, err := strconv.Atoi(version)
	if err != nil || n > 99 {
		return 0
	}
	return n
}
