package sshsig

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

func TestWhoseKeyItIs(t *testing.T) {
	t.Parallel()
	var lines []string
	var keys []ssh.PublicKey
	for range 4 {
		_, line := newKey(t, "", "ed25519")
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		lines, keys = append(lines, line), append(keys, key)
	}
	a := allow(t,
		"alice@example.com "+lines[0],
		`bob@example.com valid-before="20200101Z" `+lines[1],
		`carol@example.com namespaces="git" `+lines[2],
		`bob@example.com valid-after="20250101Z" `+lines[1],
	)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, want := range []string{"alice@example.com", "bob@example.com", "", ""} {
		who, err := a.Holder(keys[i], at)
		if who != want || (want == "") != (fault.KindOf(err) == fault.Denied && fault.HintOf(err) != "") {
			t.Errorf("%d: %q, %v", i, who, err)
		}
	}
	between := time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
	if who, err := a.Holder(keys[1], between); err == nil || !strings.Contains(err.Error(), "not valid before") {
		t.Errorf("%q, %v", who, err)
	}
	for name, want := range map[string]bool{"alice@example.com": true, "bob@example.com": false, "carol@example.com": false, "": false} {
		if a.Has(name, between) != want {
			t.Error(name)
		}
	}
}
