package proxy

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

const scramPassword = "word-of-scram-tests"

// scramServer plays the server's side of a login, rightly or not.
type scramServer struct {
	before   []pgproto3.BackendMessage // what it says first
	offers   []string                  // mechanisms; none: before was all
	password string                    // that it knows
	rounds   string                    // in place of 4096
	nonce    string                    // in place of the client's
	refuses  bool                      // whatever the proof is
}

func (f scramServer) serve(c net.Conn) {
	defer c.Close()
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:]))-4); err != nil {
		return
	}
	var out []byte
	for _, m := range f.before {
		out = encode(out, m)
	}
	if f.offers != nil && f.exchange(c, out) != nil {
		return
	}
	if f.offers != nil {
		out = encode(nil, &pgproto3.AuthenticationOk{})
		out = encode(out, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}})
		out = encode(out, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
	_, _ = c.Write(out)
	_, _ = io.Copy(io.Discard, c)
}

func (f scramServer) exchange(c net.Conn, out []byte) error {
	if _, err := c.Write(encode(out, &pgproto3.AuthenticationSASL{AuthMechanisms: f.offers})); err != nil {
		return err
	}
	initial, err := received(c)
	if err != nil {
		return err
	}
	_, first, _ := strings.Cut(string(initial), "n=,r=")
	nonce := first + "server"
	if f.nonce != "" {
		nonce = f.nonce
	}
	rounds := "4096"
	if f.rounds != "" {
		rounds = f.rounds
	}
	salt := "sixteen bytes of"
	challenge := "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString([]byte(salt)) + ",i=" + rounds
	if _, err := c.Write(encode(nil, &pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)})); err != nil {
		return err
	}
	answer, err := received(c)
	if err != nil {
		return err
	}
	if f.refuses {
		_, err := c.Write(encode(nil, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"}))
		if err == nil {
			err = io.EOF
		}
		return err
	}
	final, _, _ := strings.Cut(string(answer), ",p=")
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	salted, err := pbkdf2.Key(sha256.New, f.password, []byte(salt), n, sha256.Size)
	if err != nil {
		return err
	}
	sign := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = io.WriteString(h, text)
		return h.Sum(nil)
	}
	signature := sign(sign(salted, "Server Key"), "n=,r="+first+","+challenge+","+final)
	_, err = c.Write(encode(nil, &pgproto3.AuthenticationSASLFinal{Data: []byte("v=" + base64.StdEncoding.EncodeToString(signature))}))
	return err
}

// received is the body of a message.
func received(c net.Conn) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err := io.ReadFull(c, body)
	return body, err
}

func TestScramWithServersOfAllKinds(t *testing.T) {
	plain := []string{"SCRAM-SHA-256"}
	ok, ready := &pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}
	for name, try := range map[string]struct {
		server scramServer
		any    bool // other methods would do, as far as the configuration goes
		says   string
	}{
		"right":                              {scramServer{offers: plain, password: scramPassword}, false, ""},
		"right, and nothing is demanded":     {scramServer{offers: plain, password: scramPassword}, true, ""},
		"right, with more rounds":            {scramServer{offers: plain, password: scramPassword, rounds: "5000"}, false, ""},
		"right, after a notice":              {scramServer{before: []pgproto3.BackendMessage{&pgproto3.NoticeResponse{Message: "hello"}}, offers: plain, password: scramPassword}, false, ""},
		"it offers channel binding, too":     {scramServer{offers: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, password: scramPassword}, false, ""},
		"it does not know the password":      {scramServer{offers: plain, password: "another"}, false, "does not know the password"},
		"nor this one":                       {scramServer{offers: plain, password: "another"}, true, "does not know the password"},
		"it refuses":                         {scramServer{offers: plain, refuses: true}, false, "password authentication failed"},
		"too many rounds":                    {scramServer{offers: plain, password: scramPassword, rounds: "10000001"}, false, "rounds"},
		"no rounds":                          {scramServer{offers: plain, password: scramPassword, rounds: "0"}, false, "rounds"},
		"rounds that are no number":          {scramServer{offers: plain, password: scramPassword, rounds: "9x"}, false, "rounds"},
		"an answer to somebody else":         {scramServer{offers: plain, password: scramPassword, nonce: "somebody"}, false, "no answer to ours"},
		"no SCRAM among what it offers":      {scramServer{offers: []string{"OAUTHBEARER"}}, false, "does not support SCRAM-SHA-256"},
		"no password wanted":                 {scramServer{before: []pgproto3.BackendMessage{ok, ready}}, false, "no password at all"},
		"no password wanted, and it is fine": {scramServer{before: []pgproto3.BackendMessage{ok, ready}}, true, ""},
		"no password wanted, after another message": {
			scramServer{before: []pgproto3.BackendMessage{&pgproto3.ParameterStatus{Name: "a", Value: "b"}, ok, ready}}, false, "no password at all",
		},
		"no password wanted, after a long message": {
			scramServer{before: []pgproto3.BackendMessage{&pgproto3.NoticeResponse{Message: strings.Repeat("x", authMax)}, ok, ready}}, false, "PostgreSQL",
		},
		"ready without a word on passwords": {scramServer{before: []pgproto3.BackendMessage{ready}}, false, "before AuthenticationOk"},
		"the password in the clear":         {scramServer{before: []pgproto3.BackendMessage{&pgproto3.AuthenticationCleartextPassword{}}}, false, "in the clear"},
		"MD5":                               {scramServer{before: []pgproto3.BackendMessage{&pgproto3.AuthenticationMD5Password{}}}, false, "an MD5 hash"},
		"the end of an exchange that was none": {
			scramServer{before: []pgproto3.BackendMessage{&pgproto3.AuthenticationSASLFinal{Data: []byte("v=")}, ok, ready}}, false, "method 12",
		},
	} {
		t.Run(name, func(t *testing.T) {
			host, port, err := net.SplitHostPort(listenLocal(t, try.server.serve))
			must(t, err)
			p := pg.Params{Host: host, SSLMode: "disable", User: "app", Password: secret.New(scramPassword), Database: "shop", RequireAuth: "scram-sha-256"}
			if try.any {
				p.RequireAuth = ""
			}
			_, err = fmt.Sscan(port, &p.Port)
			must(t, err)
			up := Upstream{Database: "shop", Instance: "main", Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(p) }}
			srv, err := New(Config{Environment: "prod", Password: secret.New(proxyPassword), Upstreams: []Upstream{up}})
			must(t, err)
			for i := range 2 { // the second one remembers
				err := srv.Check(t.Context(), "shop")
				if try.says == "" && err != nil || try.says != "" && (err == nil || !strings.Contains(err.Error()+fault.HintOf(err), try.says)) {
					t.Errorf("login %d: %v", i, err)
				}
				if err != nil && strings.Contains(fmt.Sprintf("%+v", err), scramPassword) {
					t.Errorf("the password is in the error: %v", err)
				}
			}
			if _, kept := srv.scramKeys.m.Load("main"); kept && try.server.refuses {
				t.Error("a key is kept that was refused")
			}
			if strings.Contains(fmt.Sprintf("%+v %#v", &srv.scramKeys, &srv.scramKeys), scramPassword) {
				t.Error("the password can be printed")
			}
		})
	}
}

func TestAPasswordThatChanges(t *testing.T) {
	s := postgres(t, 17)
	admin := s.connect(t, "postgres")
	set := func(word string) {
		t.Helper()
		_, err := admin.Exec(t.Context(), fmt.Sprintf("alter role changing password '%s'", word))
		must(t, err)
	}
	_, err := admin.Exec(t.Context(), "create role changing login")
	must(t, err)
	var word atomic.Value
	word.Store("first-word")
	set("first-word")
	p := serve(t, Config{Upstreams: []Upstream{{Database: "shop", Instance: "main", Config: func(context.Context) (*pgconn.Config, error) {
		now, _ := word.Load().(string)
		return pg.Config(s.params(pg.Params{User: "changing", Password: secret.New(now), RequireAuth: "scram-sha-256"}))
	}}}})
	key := func() *scramKey {
		v, _ := p.scramKeys.m.Load("main")
		k, _ := v.(*scramKey)
		return k
	}
	for range 2 {
		must(t, p.Check(t.Context(), "shop"))
	}
	first := key()
	if first == nil {
		t.Fatal("no key is remembered")
	}
	must(t, p.Check(t.Context(), "shop"))
	if key() != first {
		t.Error("the key was made anew")
	}
	set("second-word")
	if err := p.Check(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "28P01") || key() != nil {
		t.Errorf("with the old password: %v, key %t", err, key() != nil)
	}
	word.Store("second-word")
	must(t, p.Check(t.Context(), "shop"))
	set("second-word") // with another salt
	second := key()
	must(t, p.Check(t.Context(), "shop"))
	if key() == second {
		t.Error("the key of another salt was used")
	}
	word.Store("wörd, not of ASCII") // is left to pgconn
	set("wörd, not of ASCII")
	must(t, p.Check(t.Context(), "shop"))
}

// PostgreSQL takes SCRAM inside TLS with channel binding, or from those who say that they know none; a client that knows it and was offered
// it has to use it.
func TestScramIsBoundToTLS(t *testing.T) {
	ours, theirs := sealedPair(t, &buffers{})
	for _, c := range []struct {
		offered           []string
		mechanism, header string
	}{
		{[]string{scramPlus, scramPlain}, scramPlus, "p=tls-server-end-point,,"},
		{[]string{scramPlain}, scramPlain, "y,,"},
	} {
		x, mechanism := newScram(c.offered, theirs)
		if mechanism != c.mechanism || x.header != c.header || (x.binding != nil) != (mechanism == scramPlus) {
			t.Errorf("%v: %s %q %x", c.offered, mechanism, x.header, x.binding)
		}
	}
	if x, mechanism := newScram([]string{scramPlus, scramPlain}, ours); mechanism != scramPlain || x.header != "y,," {
		t.Errorf("without a certificate: %s %q", mechanism, x.header)
	}
	for _, major := range []int{14, 18} {
		s := postgres(t, major)
		p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{RequireAuth: "scram-sha-256"})}})
		for range 2 {
			c := p.connect(t, "orders")
			if query[int](t, c, "select 1") != 1 {
				t.Error("another answer")
			}
		}
		if v, ok := p.scramKeys.m.Load("main"); !ok || v == nil {
			t.Error("it was not the proxy that logged in")
		}
	}
}

func BenchmarkScram(b *testing.B) {
	server := []byte(",s=" + base64.StdEncoding.EncodeToString([]byte("sixteen bytes of")) + ",i=4096")
	for _, remembered := range []bool{false, true} {
		b.Run(fmt.Sprintf("remembered=%t", remembered), func(b *testing.B) {
			var keys scramKeys
			for b.Loop() {
				x, _ := newScram([]string{scramPlain}, nil)
				_, err := x.answer(append([]byte("r="+x.nonce+"more"), server...), func(salt string, rounds int) (*scramKey, error) {
					return keys.of("main", scramPassword, salt, rounds)
				})
				must(b, err)
				if !remembered {
					keys.drop("main")
				}
			}
		})
	}
}

// said is a server that has said all it will.
type said struct {
	net.Conn
	io.Reader
}

func (s said) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s said) Write(p []byte) (int, error) { return len(p), nil }

// FuzzLoginsWithoutScram: whatever a server says that does not know the password, pgconn does not hear that it is logged in.
func FuzzLoginsWithoutScram(f *testing.F) {
	for _, m := range []pgproto3.BackendMessage{
		&pgproto3.AuthenticationOk{}, &pgproto3.AuthenticationSASLFinal{}, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"OAUTHBEARER"}},
		&pgproto3.NoticeResponse{Message: "hello"}, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramPlain}},
	} {
		f.Add(append(encode(nil, m), encode(nil, &pgproto3.AuthenticationOk{})...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &sasl{Conn: said{Reader: bytes.NewReader(in)}, only: true, keyOf: func(salt string, rounds int) (*scramKey, error) {
			return nil, io.ErrUnexpectedEOF
		}}
		got, _ := io.ReadAll(s)
		for len(got) >= 9 {
			size := 1 + int64(binary.BigEndian.Uint32(got[1:]))
			if got[0] == 'R' {
				if kind := binary.BigEndian.Uint32(got[5:]); size >= 9 && kind != askSASL {
					t.Fatalf("authentication message %d got through", kind)
				}
				return // pgconn ends it: there is nothing on offer that it knows
			}
			if size > int64(len(got)) {
				return
			}
			got = got[size:]
		}
	})
}
