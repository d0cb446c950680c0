package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/config"
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
