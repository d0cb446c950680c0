// Package awsid is who one is in the played AWS: access keys and the principals behind them, the check of request signatures
// and of database tokens, and what each principal may do.
//
// A signature is checked by signing the request again with the stored secret, with the signer of the AWS SDK, so that
// nothing is accepted that AWS would refuse. [Keys.Front] puts every played service behind one port, as
// AWS_ENDPOINT_URL expects it.
package awsid

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sort"
	"sync"
	"time"

	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// Config says whose keys there are.
type Config struct {
	Account string // twelve digits
	Region  string // the only region that is played
	// Dir is where the keys are kept, so that a sandbox comes back with the same ones. Empty: they are not kept.
	Dir string
	// Principals are made with one access key each. Their rules are not kept: they are what is given here.
	Principals []Principal
	// Now defaults to time.Now.
	Now func() time.Time
}

// Principal is somebody who may hold an access key.
type Principal struct {
	Name  string // the end of the ARN: user/alice, role/deploy
	Allow []Rule // an action that no rule allows is denied
	Deny  []Rule // wins over Allow
}

// Rule names actions on resources. Both may hold the wildcards * and ?; an empty Resource means every one.
type Rule struct {
	Action   string // rds:Describe*
	Resource string // arn:aws:rds:eu-west-1:123456789012:db:orders
}

// Actions makes a rule for each action, on every resource.
func Actions(actions ...string) []Rule {
	rules := make([]Rule, 0, len(actions))
	for _, a := range actions {
		rules = append(rules, Rule{Action: a})
	}
	return rules
}

// Keys are the access keys of one account.
type Keys struct {
	account, region string
	now             func() time.Time
	asked           play.Asked

	mu         sync.Mutex
	principals map[string]Principal // by name
	byID       map[string]savedKey
	byName     map[string]savedKey
}

// savedKey is one access key on disk. It is the store of these secrets, therefore not a secret.Value.
type savedKey struct {
	Principal string `json:"principal"`
	UserID    string `json:"user_id"`
	ID        string `json:"access_key_id"`
	Secret    string `json:"secret_access_key"`
}

const keysFile = "aws-keys.json"

// Open brings back the keys of cfg.Dir and makes those that are missing.
func Open(cfg Config) (*Keys, error) {
	k := &Keys{
		account: cfg.Account, region: cfg.Region, now: cfg.Now,
		principals: map[string]Principal{}, byID: map[string]savedKey{}, byName: map[string]savedKey{},
	}
	if k.now == nil {
		k.now = time.Now
	}
	var saved []savedKey
	if cfg.Dir != "" {
		if _, err := play.Load(cfg.Dir, keysFile, &saved); err != nil {
			return nil, fmt.Errorf("open access keys: %w", err)
		}
	}
	for _, s := range saved {
		k.byName[s.Principal] = s
	}
	for _, p := range cfg.Principals {
		s, ok := k.byName[p.Name]
		if !ok {
			s = newKey(p.Name)
			saved = append(saved, s)
			k.byName[p.Name] = s
		}
		k.principals[p.Name] = p
		k.byID[s.ID] = s
	}
	if cfg.Dir != "" {
		if err := play.Save(cfg.Dir, keysFile, saved); err != nil {
			return nil, fmt.Errorf("keep access keys: %w", err)
		}
	}
	return k, nil
}

// Account is the account's number.
func (k *Keys) Account() string { return k.account }

// Region is the played region.
func (k *Keys) Region() string { return k.region }

// Names lists the principals, sorted.
func (k *Keys) Names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make([]string, 0, len(k.principals))
	for n := range k.principals {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Credentials returns the access key of a principal; ok is false if there is no such principal.
func (k *Keys) Credentials(name string) (id string, sec secret.Value, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok = k.principals[name]; !ok {
		return "", secret.Value{}, false
	}
	s := k.byName[name]
	return s.ID, secret.New(s.Secret), true
}

// SetRules changes what a principal may do, from the next request on. It tells whether there is one of that name.
func (k *Keys) SetRules(name string, allow, deny []Rule) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.principals[name]
	if ok {
		p.Allow, p.Deny = allow, deny
		k.principals[name] = p
	}
	return ok
}

// lookup returns the secret of an access key and who holds it.
func (k *Keys) lookup(id string) (string, Caller, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.byID[id]
	if !ok {
		return "", Caller{}, false
	}
	p := k.principals[s.Principal]
	return s.Secret, Caller{account: k.account, userID: s.UserID, principal: p, asked: &k.asked}, true
}

func newKey(principal string) savedKey {
	raw := make([]byte, 30)
	_, _ = rand.Read(raw)
	return savedKey{
		Principal: principal,
		UserID:    "AIDA" + ID(17),
		ID:        "AKIA" + ID(16),
		Secret:    base64.StdEncoding.EncodeToString(raw),
	}
}

// ID returns n random capitals and digits, as AWS makes its identifiers.
func ID(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// Asked is which permissions the principals were asked for.
func (k *Keys) Asked() *play.Asked { return &k.asked }
