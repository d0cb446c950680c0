package encore

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/secret"
)

// One file, read as an app of each language reads it, and given the same new user.
func TestGoAndTypeScriptDiffer(t *testing.T) {
	t.Parallel()
	text := `{
  "sql_servers": [
    {
      "host": "10.0.0.5:5432",
      "tls_config": {"ca": ` + strconv.Quote(string(testdata(t, "two.pem"))) + `, "disabled": true, "disable_ca_validation": true},
      "databases": {
        "orders": {"name": "billing", "username": {"$env": "A_USER"}, "password": {"$env": "A_PASSWORD"}, "client_cert": {"cert": "c", "key": "k"}},
        "billing": {"name": "orders", "username": "b", "password": "old"}
      }
    }
  ]
}
`
	var b strings.Builder
	for _, lang := range []Language{Go, TypeScript} {
		c := parseInfra(t, []byte(text), lang)
		fmt.Fprintf(&b, "== %s\n", lang)
		for _, d := range c.Databases() {
			fmt.Fprintf(&b, "in code %q, on the server %q; user %s, password %s; %d CAs: %s\n", d.Encore, d.Name, d.Username, d.Password, d.CAs, d.TLS)
		}
		fmt.Fprintf(&b, "warnings:\n  %s\n", strings.Join(c.Warnings(), "\n  "))
		r := set(t, c, "orders", Change{Username: "orders_b", Password: secret.New("new")})
		out := strings.ReplaceAll(string(c.Text()), strings.Trim(strconv.Quote(string(testdata(t, "two.pem"))), `"`), "PEM")
		fmt.Fprintf(&b, "after a change of \"orders\" in code: changed %v, variables %v\n%s\n", r.Changed, r.Variables, out)
	}
	golden.RequireEqual(t, []byte(b.String()))
}
