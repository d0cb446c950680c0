package config

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/token"
)

// keepElsewhere is what to do with a secret that was found in the file.
const keepElsewhere = "keep it in a secret store and name the place, as in secret: aws-sm:NAME; change it if the file was shared"

// credential matches what only secrets look like; the groups' names say what it is.
var credential = regexp.MustCompile(strings.Join([]string{
	`(?P<a_private_key>-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)`,
	`(?P<a_password_in_a_URL>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#:@]*:[^\s/@]+@|[?&](?i:ssl)?(?i:password)=[^\s&])`,
	`(?P<an_AWS_access_key>\b(?:AKIA|ASIA)[A-Z0-9]{12,})`,
	`(?P<a_Google_access_token>\bya29\.[A-Za-z0-9_-]+)`,
	`(?P<a_Google_API_key>\bAIza[A-Za-z0-9_-]{30,})`,
	`(?P<a_GitHub_token>\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}))`,
	`(?P<a_GitLab_token>\bglpat-[A-Za-z0-9_-]{16,})`,
	`(?P<a_Slack_token>\bxox[abeprs]-[A-Za-z0-9-]{10,})`,
	`(?P<a_Neon_password>\bnpg_[A-Za-z0-9]{10,})`,
	`(?P<a_signed_token>\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,})`,
	`(?P<a_password_verifier>SCRAM-SHA-256\$\d+:)`,
}, "|"))

// credentialIn says what secret s holds, "" if none is seen.
func credentialIn(s string) string {
	m := credential.FindStringSubmatchIndex(s)
	for i, name := range credential.SubexpNames() {
		if m != nil && i > 0 && m[2*i] >= 0 {
			return strings.ReplaceAll(name, "_", " ")
		}
	}
	return ""
}

// refuseSecrets reports every credential among the words of the file, comments included, and returns where they stand.
func refuseSecrets(words token.Tokens, root *node, r *report) map[position]bool {
	found := map[position]bool{}
	for _, w := range words {
		what := credentialIn(w.Value)
		if what == "" || r.dropped {
			continue
		}
		if w.Type == token.CommentType {
			r.add(at(w), "", "delete it, and change it if the file was shared", "this comment holds %s", what)
			continue
		}
		found[at(w)] = true
		r.add(at(w), pathAt(root, at(w)), keepElsewhere, "this looks like %s; dbops.yaml must hold no secrets", what)
	}
	return found
}

// pathAt finds the path of the scalar or key that stands at pos, "" if there is none.
func pathAt(root *node, pos position) string {
	seen := map[*node]bool{} // nodes are shared by aliases
	var find func(spot) string
	find = func(s spot) string {
		if s.node.pos == pos && len(s.node.pairs) == 0 && len(s.node.items) == 0 {
			return s.String()
		}
		if seen[s.node] {
			return ""
		}
		seen[s.node] = true
		for _, p := range s.node.pairs {
			c, _ := s.child(p.key)
			if p.pos == pos {
				return c.String()
			}
			if path := find(c); path != "" {
				return path
			}
		}
		for i := range s.node.items {
			if path := find(s.item(i)); path != "" {
				return path
			}
		}
		return ""
	}
	if root == nil {
		return ""
	}
	return find(spot{node: root})
}

// secretKey tells whether a key announces a secret: password, db_password, apiKey.
func secretKey(key string) bool {
	k := strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(key))
	switch k {
	case "pass", "passwd", "pwd", "secret", "credentials", "accesskeyid", "awsaccesskeyid":
		return true
	}
	for _, end := range []string{"password", "passphrase", "token", "secretkey", "accesskey", "apikey", "privatekey", "clientsecret"} {
		if strings.HasSuffix(k, end) {
			return true
		}
	}
	return false
}

// show is s for a message: short, and not if it is a secret.
func show(s string) string {
	if credential.MatchString(s) {
		return "[secret]"
	}
	if r := []rune(s); len(r) > 64 {
		s = string(r[:61]) + "..."
	}
	return printable(s)
}

// quote is [show] in quotation marks.
func quote(s string) string { return `"` + show(s) + `"` }

// printable escapes what would move the cursor of a terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	}
	return s
}
