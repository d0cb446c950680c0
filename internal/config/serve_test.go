package config

import (
	"slices"
	"testing"
)

func TestServeUsers(t *testing.T) {
	t.Parallel()
	const one = head + "        postgres: {url: \"postgres://127.0.0.1/?sslmode=disable\"}\n"
	const signers = "approvals: {allowed_signers: signers}\n"
	cfg, err := Load(write(t, one+signers+"serve:\n  users:\n    alice@example.com: approve\n    bob@example.com: change\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Right{"alice@example.com": MayApprove, "bob@example.com": MayChange, "carol@example.com": MayRead} {
		if got := cfg.Serve.Right(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, c := range map[string]struct{ text, want string }{
		"a right that is none": {
			signers + "serve: {users: {alice: aprove}}\n", `8:24: serve.users.alice: unknown right "aprove"; did you mean "approve"?`,
		},
		"nobody's keys":  {"serve: {users: {alice: read}}\n", "7:9: serve.users: nothing says which keys these people have; write approvals: {allowed_signers: FILE}"},
		"a number":       {signers + "serve: {users: {alice: 7}}\n", "8:24: serve.users.alice: want text, got a number; put it in quotes"},
		"nothing at all": {signers + "serve: {users: {alice: }}\n", "8:17: serve.users.alice: there is no value; write one, or delete the key"},
	} {
		if got := problems(t, one+c.text); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
