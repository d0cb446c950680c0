package gcpsm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
)

// The aliases of a secret that say what a version is.
const (
	current  = "current"
	pending  = "pending"
	previous = "previous"
)

// annotation holds the ledger, as JSON.
const annotation = "dbops-versions"

// maxLedger is how many tokens a secret remembers. All annotations of a secret have 16 KiB.
const maxLedger = 32

// entry is which version a token made. It is written before the version is added, because adding has no token of its own: what a killed
// process added is found again by it.
type entry struct {
	Token   string `json:"token"`
	Version int64  `json:"version,omitempty"` // 0: not known to be there
	After   int64  `json:"after,omitempty"`   // the newest version when it was not there
	// Text tells the version from others that were added meanwhile. It is 32 bits of a keyed hash: too few to guess a password by.
	Text string `json:"text,omitempty"`
}

// state is what dbops reads and writes of a secret.
type state struct {
	etag    string
	managed bool // Google rotates it
	aliases map[string]int64
	ledger  []entry

	annotations map[string]string // of others
}

func parse(s *secretmanagerpb.Secret) (*state, error) {
	st := &state{
		etag: s.GetEtag(), managed: s.GetSecretType() == secretmanagerpb.Secret_CLOUD_SQL_DB_CREDENTIALS,
		aliases: maps.Clone(s.GetVersionAliases()), annotations: maps.Clone(s.GetAnnotations()),
	}
	if st.aliases == nil {
		st.aliases = map[string]int64{}
	}
	if text, ok := st.annotations[annotation]; ok {
		if err := json.Unmarshal([]byte(text), &st.ledger); err != nil {
			return nil, errors.New("its annotation " + annotation + " is not what dbops wrote")
		}
		delete(st.annotations, annotation)
	}
	return st, nil
}

// clone is a copy that can be changed.
func (st *state) clone() *state {
	next := *st
	next.aliases, next.ledger = maps.Clone(st.aliases), slices.Clone(st.ledger)
	return &next
}

// message is the secret with what of it differs from before; paths names that.
func (st *state) message(name string, before *state) (m *secretmanagerpb.Secret, paths []string) {
	m = &secretmanagerpb.Secret{Name: name, Etag: st.etag}
	if !maps.Equal(st.aliases, before.aliases) {
		m.VersionAliases = st.aliases
		paths = append(paths, "version_aliases")
	}
	if !slices.Equal(st.ledger, before.ledger) {
		b, _ := json.Marshal(st.ledger) // strings and numbers
		m.Annotations = maps.Clone(st.annotations)
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[annotation] = string(b)
		paths = append(paths, "annotations")
	}
	return m, paths
}

// of is the entry of a token; nil if there is none.
func (st *state) of(token string) *entry {
	for i := range st.ledger {
		if st.ledger[i].Token == token {
			return &st.ledger[i]
		}
	}
	return nil
}

// claims tells whether another token made version n.
func (st *state) claims(n int64) bool {
	return slices.ContainsFunc(st.ledger, func(e entry) bool { return e.Version == n })
}

// begin adds an entry. Beyond the limit the oldest ones go whose versions have no alias.
func (st *state) begin(e entry) {
	for i := 0; len(st.ledger) >= maxLedger && i < len(st.ledger); {
		if st.role(st.ledger[i].Version) == "" {
			st.ledger = slices.Delete(st.ledger, i, i+1)
			continue
		}
		i++
	}
	st.ledger = append(st.ledger, e)
}

// role is what a version is; empty if nothing.
func (st *state) role(n int64) string {
	for _, alias := range []string{current, pending, previous} {
		if n != 0 && st.aliases[alias] == n {
			return alias
		}
	}
	return ""
}

// fingerprint tells the texts of one token apart.
func fingerprint(token string, text []byte) string {
	h := hmac.New(sha256.New, []byte(token))
	_, _ = h.Write(text) // a hash does not fail
	return hex.EncodeToString(h.Sum(nil)[:4])
}
