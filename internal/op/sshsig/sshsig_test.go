package sshsig

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"dbops/internal/fault"
)

var message = []byte("approve plan sha256:3fe2 of prod/main\n")

// keygen runs the real ssh-keygen, which the tests need (Debian: openssh-client).
func keygen(t testing.TB, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newKey makes a key pair with ssh-keygen and returns its file and its public line.
func newKey(t testing.TB, passphrase string, kind ...string) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	if out, err := keygen(t, nil, append([]string{"-q", "-N", passphrase, "-C", "test", "-f", file, "-t"}, kind...)...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(b))
}

func allow(t testing.TB, lines ...string) *Allowed {
	t.Helper()
	a, err := ParseAllowedSigners([]byte(strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func kinds() map[string][]string {
	return map[string][]string{"ed25519": {"ed25519"}, "ecdsa": {"ecdsa", "-b", "384"}, "rsa": {"rsa", "-b", "2048"}}
}

func TestOpenSSHVerifiesWhatWeSign(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, public := newKey(t, "", kind...)
			sig, err := Sign(t.Context(), Key{File: file}, message)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			allowed, sigFile := filepath.Join(dir, "allowed"), filepath.Join(dir, "sig")
			if err := os.WriteFile(allowed, []byte(`alice@example.com namespaces="dbops" `+public+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(sigFile, sig, 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"-Y", "verify", "-n", "dbops", "-f", allowed, "-I", "alice@example.com", "-s", sigFile}
			if out, err := keygen(t, message, args...); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if out, err := keygen(t, append(message, 'x'), args...); err == nil {
				t.Errorf("another message: %s", out)
			}
		})
	}
}

func TestWeVerifyWhatOpenSSHSigns(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, public := newKey(t, "", kind...)
			_, other := newKey(t, "", "ed25519")
			sig := signedByOpenSSH(t, file, Namespace)
			a := allow(t, "# ours", "", "bob@example.com "+other, "alice@example.com "+public)
			if who, err := Verify(a, message, sig, time.Now()); err != nil || who != "alice@example.com" {
				t.Errorf("%q, %v", who, err)
			}
			for name, try := range map[string]struct {
				allowed *Allowed
				message []byte
				sig     []byte
			}{
				"another message":           {a, append(bytes.Clone(message), 'x'), sig},
				"a key that is not allowed": {allow(t, "bob@example.com "+other), message, sig},
				"a signature made for git":  {a, message, signedByOpenSSH(t, file, "git")},
				"a line for git only":       {allow(t, `alice@example.com namespaces="git,file" `+public), message, sig},
				"a line for all but us":     {allow(t, `alice@example.com namespaces="*,!dbops" `+public), message, sig},
				"nobody":                    {allow(t), message, sig},
				"a flipped bit":             {a, message, flip(t, sig)},
				"something before it":       {a, message, append([]byte("x\n"), sig...)},
				"two signatures":            {a, message, append(bytes.Clone(sig), sig...)},
				"no signature":              {a, message, nil},
			} {
				if who, err := Verify(try.allowed, try.message, try.sig, time.Now()); err == nil || who != "" || fault.HintOf(err) == "" {
					t.Errorf("%s: %q, %v (hint %q)", name, who, err, fault.HintOf(err))
				}
			}
		})
	}
}

func signedByOpenSSH(t testing.TB, key, namespace string) []byte {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(data, message, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := keygen(t, nil, "-Y", "sign", "-n", namespace, "-f", key, data); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sig, err := os.ReadFile(data + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// flip changes the last bit of the signature itself.
func flip(t testing.TB, armored []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(armored)
	if block == nil {
		t.Fatal("not armored")
	}
	block.Bytes[len(block.Bytes)-1] ^= 1
	return pem.EncodeToMemory(block)
}

func TestAKeyIsValidForItsTime(t *testing.T) {
	t.Parallel()
	file, public := newKey(t, "", "ed25519")
	sig, err := Sign(t.Context(), Key{File: file}, message)
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		options string
		want    bool
	}{
		{`valid-after="20260601Z"`, true},
		{`valid-after="202606011201Z"`, false},
		{`valid-before="20260601120001Z"`, true},
		{`valid-before="20260601115959Z"`, false},
		{`valid-after="20250101Z",valid-before="20270101Z",namespaces="git,dbops"`, true},
		{`VALID-BEFORE="20260531Z"`, false},
	} {
		who, err := Verify(allow(t, "alice@example.com "+c.options+" "+public), message, sig, noon)
		if (err == nil) != c.want || (who == "alice@example.com") != c.want {
			t.Errorf("%s: %q, %v", c.options, who, err)
		}
	}
	renewed := allow(t, `alice@example.com valid-before="20260531Z" `+public, `alice@example.com valid-after="20260531Z" `+public)
	if _, err := Verify(renewed, message, sig, noon); err != nil {
		t.Errorf("a renewed line: %v", err)
	}
}

func TestLinesThatLeaveOpenWhoSigned(t *testing.T) {
	t.Parallel()
	_, key := newKey(t, "", "ed25519")
	_, weak := newKey(t, "", "rsa", "-b", "1024")
	for _, c := range []struct{ name, file, want string }{
		{"a certificate authority", "alice cert-authority " + key, "line 1: cert-authority is not supported"},
		{"one in capitals", "alice CERT-AUTHORITY " + key, "cert-authority is not supported"},
		{"a pattern", "\n*@example.com " + key, `line 2: "*@example.com" is a pattern`},
		{"a negated name", "alice,!bob " + key, "is a pattern"},
		{"one key of two", "alice " + key + "\nbob " + key, "line 2: the key of bob is also that of alice"},
		{"an unknown option", "alice no-such-thing " + key, "is not known"},
		{"a wrong time", `alice valid-after="tomorrow" ` + key, "is not a time"},
		{"a name only", "alice", "it has no key"},
		{"an open quote", `"alice ` + key, "a quote is not closed"},
		{"no key", "alice ssh-ed25519 AAAA", "no public key"},
		{"a short RSA key", "alice " + weak, "2048 bits"},
	} {
		_, err := ParseAllowedSigners([]byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Config {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if a := allow(t, `*@example.com,!x cert-authority,namespaces="git" `+key, `"alice@example.com,alice" `+key); a.signers[0].principal != "alice@example.com" {
		t.Errorf("%+v", a)
	}
}

func TestRSAWithSHA1IsRefused(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	by, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sshsig.Sign(bytes.NewReader(message), sha1Signer{by.(ssh.AlgorithmSigner)}, sshsig.HashSHA512, Namespace) //nolint:forcetypeassert // of a test
	if err != nil {
		t.Fatal(err)
	}
	if sig.Signature.Format != ssh.KeyAlgoRSA {
		t.Fatalf("the test signs with %s", sig.Signature.Format)
	}
	if err := sshsig.Verify(bytes.NewReader(message), sig, by.PublicKey(), sshsig.HashSHA512, Namespace); err != nil {
		t.Fatalf("only its hash should be wrong: %v", err)
	}
	a := allow(t, "alice "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(by.PublicKey()))))
	if _, err := Verify(a, message, sshsig.Armor(sig), time.Now()); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "ssh-rsa") {
		t.Errorf("%v", err)
	}
}

// sha1Signer signs with SHA-1 whatever it is asked for.
type sha1Signer struct{ ssh.AlgorithmSigner }

func (s sha1Signer) SignWithAlgorithm(r io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	return s.AlgorithmSigner.SignWithAlgorithm(r, data, ssh.KeyAlgoRSA)
}

// runAgent is an SSH agent with some keys.
func runAgent(t *testing.T, keys ...any) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	return serve(t, func(c net.Conn) { _ = agent.ServeAgent(ring, c) })
}

func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sshsig") // a socket's name is short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return l.Addr().String()
}

func rawKey(t *testing.T, file, passphrase string) any {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.ParseRawPrivateKeyWithPassphrase(b, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTheAgentSignsWithKeysThatHaveAPassphrase(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, public := newKey(t, "correct horse", kind...)
			_, other, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			a := allow(t, "alice "+public)
			socket := runAgent(t, other, rawKey(t, file, "correct horse"))
			for _, key := range []string{file, file + ".pub"} {
				sig, err := Sign(t.Context(), Key{File: key, AgentSocket: socket}, message)
				if err != nil {
					t.Fatal(err)
				}
				if who, err := Verify(a, message, sig, time.Now()); err != nil || who != "alice" {
					t.Errorf("%q, %v", who, err)
				}
			}
			if sig, err := Sign(t.Context(), Key{AgentSocket: runAgent(t, rawKey(t, file, "correct horse"))}, message); err != nil {
				t.Error(err)
			} else if _, err := Verify(a, message, sig, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPublicKeySignsWithItsHalfBesideIt(t *testing.T) {
	t.Parallel()
	file, public := newKey(t, "", "ed25519")
	sig, err := Sign(t.Context(), Key{File: file + ".pub"}, message) // without an agent
	if err != nil {
		t.Fatal(err)
	}
	if who, err := Verify(allow(t, "alice "+public), message, sig, time.Now()); err != nil || who != "alice" {
		t.Errorf("%s, %v", who, err)
	}
	other, _ := newKey(t, "", "ed25519") // another key beside it is not taken
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), Key{File: file + ".pub"}, message); fault.KindOf(err) != fault.Config {
		t.Errorf("%v", err)
	}
}

func TestWhyAKeyCannotSign(t *testing.T) {
	t.Parallel()
	locked, _ := newKey(t, "correct horse", "ed25519")
	readable, _ := newKey(t, "", "ed25519")
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	weak, _ := newKey(t, "", "rsa", "-b", "1024")
	junk := filepath.Join(t.TempDir(), "junk")
	putty, torn := filepath.Join(t.TempDir(), "key.ppk"), filepath.Join(t.TempDir(), "torn")
	for file, text := range map[string]string{
		junk: "hello", putty: "PuTTY-User-Key-File-3: ssh-ed25519\n", torn: "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	alone, _ := newKey(t, "", "ed25519")
	if err := os.Remove(alone); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		key  Key
		kind fault.Kind
		want string
	}{
		{"no agent for a locked key", Key{File: locked}, fault.Config, "no SSH agent"},
		{"an agent without the key", Key{File: locked, AgentSocket: runAgent(t)}, fault.Config, "does not have the key SHA256:"},
		{"no key is named", Key{AgentSocket: runAgent(t)}, fault.Config, "has 0 keys"},
		{"an agent that is gone", Key{AgentSocket: "/nowhere/agent"}, fault.Unavailable, "nowhere"},
		{"a missing file", Key{File: "/nowhere/key"}, fault.Usage, "nowhere"},
		{"others may read it", Key{File: readable}, fault.Denied, "others may read"},
		{"a short key", Key{File: weak}, fault.Config, "2048 bits"},
		{"no key at all", Key{File: junk}, fault.Config, "junk is not an SSH key"},
		{"a key of PuTTY", Key{File: putty}, fault.Config, "PuTTY"},
		{"a private key that is torn", Key{File: torn}, fault.Config, "a private key that cannot be read"},
		{"a public key alone", Key{File: alone + ".pub"}, fault.Config, "no private half that signs by itself: no SSH agent runs"},
		{"a public key of a locked one", Key{File: locked + ".pub", AgentSocket: runAgent(t)}, fault.Config, "by itself: the SSH agent does not have the key"},
	} {
		_, err := Sign(t.Context(), c.key, message)
		if fault.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (%s)", c.name, err, fault.KindOf(err))
		}
		if hint := fault.HintOf(err); hint == "" || strings.Contains(hint, "ssh-add") && strings.Contains(hint, ".pub") {
			t.Errorf("%s: the hint is %q", c.name, hint)
		}
	}
}

func TestAnAgentThatDoesNotAnswerIsLeft(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	release := make(chan struct{})
	socket := serve(t, func(net.Conn) { close(asked); <-release })
	t.Cleanup(func() { close(release) }) // before the agent is waited for
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := Sign(ctx, Key{AgentSocket: socket}, message); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("%v", err)
	}
}

func TestSigningThatIsCancelledBeforeItBegan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sign(ctx, Key{AgentSocket: runAgent(t)}, message); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("%v", err)
	}
}

func FuzzVerify(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	by, err := ssh.NewSignerFromKey(private)
	if err != nil {
		f.Fatal(err)
	}
	sig, err := sign(by, message)
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(sig)
	a := allow(f, "alice "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(by.PublicKey()))))
	f.Add(block.Bytes)
	f.Add(block.Bytes[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		armored := fmt.Appendf(nil, "-----BEGIN SSH SIGNATURE-----\n%s\n-----END SSH SIGNATURE-----\n", base64.StdEncoding.EncodeToString(b))
		for _, s := range [][]byte{b, armored} {
			if who, err := Verify(a, message, s, time.Now()); err == nil && (who != "alice" || !bytes.Equal(b, block.Bytes)) {
				t.Errorf("%q signed by %s", b, who)
			}
		}
	})
}

func FuzzParseAllowedSigners(f *testing.F) {
	f.Add([]byte(`"a,b" namespaces="dbops",valid-after="20260101Z" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOrvP89uyupCbqyFcCz1nNtKuLT8YIUkj0Vhf/xYamSs c`))
	f.Add([]byte("a cert-authority ssh-rsa AAAA\n# b\n\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAllowedSigners(b)
		if err != nil {
			return
		}
		for _, s := range a.signers {
			if s.principal == "" || s.key == nil || strings.ContainsAny(s.principal, "*?!") {
				t.Errorf("%+v", s)
			}
		}
	})
}
