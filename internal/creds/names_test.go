package creds

import (
	"strings"
	"testing"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

func verifierOf(password string) (string, error) { return pg.Verifier(secret.New(password)) }

func TestNamesOfRoles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("very-long-name-", 6)
	for container, want := range map[string]string{
		"shop-api": "c_shop_api", "Shop.API": "c_shop_api", "a": "c_a", "x\"; DROP": "c_x___drop", "käse": "c_k_se",
	} {
		if got := GroupRole(container); got != want {
			t.Errorf("%s: %s, want %s", container, got, want)
		}
	}
	if got := SlotRole("shop-api", SlotB); got != "shop_api_b" {
		t.Error(got)
	}
	if a, b := SlotRole(long+"1", SlotA), SlotRole(long+"2", SlotA); a == b || len(a) > maxRole || len(GroupRole(long)) > maxRole {
		t.Errorf("%s and %s", a, b)
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		p := newPassword().Reveal()
		if len(p) != passwordLength || seen[p] || strings.Trim(p, passwordLetters+passwordSigns) != "" || strings.Contains(passwordSigns, p[:1]) {
			t.Fatal("a password is not as it should be")
		}
		seen[p] = true
	}
}

func TestPayloadsKeepWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	l := Login{"app_b", secret.New("new~pass.word-1")}
	for name, c := range map[string]struct{ from, want string }{
		"a JSON object": {
			`{"username":"app_a","password":"old","host":"h","port":5432,"extra":{"x":[1, 2]}}`,
			`{"username":"app_b","password":"new~pass.word-1","host":"h","port":5432,"extra":{"x":[1, 2]},"slot":"b"}`,
		},
		"a URL": {"postgres://app_a:old@h:5432/db?sslmode=verify-full", "postgres://app_b:new~pass.word-1@h:5432/db?sslmode=verify-full"},
		"variables": {
			"# of the shop\nexport PGHOST=h\nPGUSER=app_a\nPGPASSWORD=\"old\"\n",
			"# of the shop\nexport PGHOST=h\nPGUSER=app_b\nPGPASSWORD=\"new~pass.word-1\"\n",
		},
		"a URL in variables": {
			"DATABASE_URL='postgres://app_a:old@h/db'\nPORT=80", "DATABASE_URL='postgres://app_b:new~pass.word-1@h/db'\nPORT=80\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := parsePayload(secret.New(c.from))
			must(t, err)
			if old := p.Login(); old.User != "app_a" || !old.Password.Equal("old") {
				t.Errorf("it logs in as %s", old.User)
			}
			p.Put(l, SlotB)
			v, err := p.Value()
			must(t, err)
			if !v.Equal(c.want) {
				t.Errorf("got %q", v.Reveal())
			}
			again, err := parsePayload(v)
			must(t, err)
			if now := again.Login(); now.User != l.User || !now.Password.Equal(l.Password.Reveal()) {
				t.Error("it does not log in as it was told")
			}
		})
	}
}

func TestPayloadsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "hunter2", "{", `{"password":"hunter2"}`, `{"username":"","password":"hunter2"}`, `["hunter2"]`, "postgres://h/hunter2", "postgres://%zz:hunter2@h/",
		"PASSWORD=hunter2", "mysql://app:hunter2@h/",
	} {
		if _, err := parsePayload(secret.New(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(`{"username":"a","password":"hunter2"}`)
	f.Add("postgres://a:hunter2@h/db")
	f.Add("PGUSER=a\nPGPASSWORD=hunter2")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePayload(secret.New(text))
		if err != nil {
			return
		}
		l := Login{"app_b", newPassword()}
		p.Put(l, SlotB)
		v, err := p.Value()
		if err != nil {
			return
		}
		again, err := parsePayload(v)
		if err != nil || again.Login().User != l.User {
			t.Errorf("%q became something else: %v", text, err)
		}
	})
}
