package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

func TestAnInfraConfigFollowsTheCurrentCredential(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := config.EncorePlace{Path: filepath.Join(dir, "infra.config.json"), Language: "go"}
	place, ref := encoreStore{secret.File{}, at}, credentialFile(at)
	ctx := t.Context()
	stage := func(token, user string) string {
		t.Helper()
		v, err := place.Stage(ctx, ref, token, secret.New(`{"username":"`+user+`","password":"hunter2-`+user+`-0123456789012345678901234567","databases":{"shop":{}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return v.ID
	}
	if err := place.Create(ctx, ref); err != nil {
		t.Fatal(err)
	}
	first := stage("one", "shop_a")

	// The config is not there yet: the credential is current, and a repetition delivers it.
	err := place.Promote(ctx, ref, "", first)
	if fault.KindOf(err) != fault.NotFound || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("without the file: %v", err)
	}
	const text = `{"log_level": "info", "sql_servers": [{"host": "h:5432", "databases": {"shop": {"username": "old", "password": "older"}}}]}`
	if err := os.WriteFile(at.Path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	holds := func(user string) {
		t.Helper()
		got, err := os.ReadFile(at.Path)
		want := strings.NewReplacer(`"old"`, `"`+user+`"`, `"older"`, `"hunter2-`+user+`-0123456789012345678901234567"`).Replace(text)
		if err != nil || string(got) != want {
			t.Errorf("it does not hold the credential of %s: %v", user, err)
		}
	}
	for range 2 {
		if err := place.Promote(ctx, ref, "", first); err != nil {
			t.Fatal(err)
		}
		holds("shop_a")
	}
	second := stage("two", "shop_b")
	holds("shop_a") // what is pending is nobody's business
	if err := place.Promote(ctx, ref, first, second); err != nil {
		t.Fatal(err)
	}
	holds("shop_b")
	if err := place.Promote(ctx, ref, second, first); err != nil { // and back
		t.Fatal(err)
	}
	holds("shop_a")
}

func TestWhatAnInfraConfigHoldsIsSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := config.EncorePlace{Path: filepath.Join(dir, "infra.config.json"), Language: "go"}
	place, ref := encoreStore{secret.File{}, at}, credentialFile(at)
	ctx := t.Context()
	login := creds.Login{User: "shop_a", Password: secret.New("hunter2-0123456789")}
	if err := place.Probe(ctx, ref); fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.HintOf(err), "makes none") {
		t.Errorf("without the file: %v", err)
	}
	for text, want := range map[string]creds.Mirrored{
		`{"sql_servers": [{"host": "db:5432", "databases": {"shop": {"username": "shop_a", "password": "hunter2-0123456789"}}}]}`: {
			Database: "shop", Server: "shop", Host: "db:5432", User: "shop_a", Holds: true,
		},
		`{"sql_servers": [{"host": "other", "databases": {"s": {"name": "shop", "username": "me", "password": "hunter2-0123456789"}}}]}`: {
			Database: "shop", Server: "s", Host: "other", User: "me",
		},
		`{"sql_servers": [{"host": "db", "databases": {"shop": {"username": "shop_a", "password": {"$env": "PW"}}}}]}`: {
			Database: "shop", Server: "shop", Host: "db", User: "shop_a",
		},
	} {
		if err := os.WriteFile(at.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := place.Probe(ctx, ref); err != nil {
			t.Error(err)
		}
		got, err := place.Mirrored(ctx, []string{"shop"}, login)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := place.Mirrored(ctx, []string{"orders"}, login); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a database that it does not name: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := place.Probe(ctx, ref); fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "chmod go-w") {
		t.Errorf("in a folder where others may write: %v", err)
	}
}
