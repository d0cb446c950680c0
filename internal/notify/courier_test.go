package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/config"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

const token = "T0KEN-that-nobody-may-see"

// stage is a receiver, and a courier that sends to it.
type stage struct {
	*Courier
	t      *testing.T
	server *httptest.Server
	log    bytes.Buffer
	format string
	key    bool

	mu     sync.Mutex
	got    []*http.Request
	bodies []string
	answer func(n int, w http.ResponseWriter) // the n-th request, from 1
}

func newStage(t *testing.T, p statetest.Place) *stage {
	t.Helper()
	s := &stage{t: t, format: config.FormatDbops}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got, s.bodies = append(s.got, r), append(s.bodies, string(b))
		n, answer := len(s.got), s.answer
		s.mu.Unlock()
		if answer != nil {
			answer(n, w)
		}
	}))
	t.Cleanup(s.server.Close)
	client := NewClient()
	client.Transport = s.server.Client().Transport
	s.Courier = &Courier{
		Store: p.Store(t), Client: client, UserAgent: "dbops/test", Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Receiver: func(name string) (Receiver, bool) { return s.receiver(name), name == "on-call" },
	}
	return s
}

func (s *stage) receiver(name string) Receiver {
	w := &config.Webhook{URLSecret: "env:URL", Format: s.format}
	if s.key {
		w.KeySecret = "env:KEY"
	}
	return ReceiverOf(name, w, func(_ context.Context, place string) (secret.Value, error) {
		if place == "env:KEY" {
			return secret.New("k3y-" + token), nil
		}
		return secret.New(s.server.URL + "/" + token), nil
	})
}

var failure = Notice{
	Schema: Schema, ID: "n1", On: config.OnFailure, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Environment: "prod", Instance: "main", Run: "r1a2b3c4d5",
	Plan: "abc", Kind: "upgrade.run", Title: "upgrade prod/main <to 18>", State: "parked", Step: "copy shop", Text: "disk full & more", Hint: "make room",
	Next: "dbops runs show r1a2b3c4d5", Requester: "alice", Actor: "bob",
}

func (s *stage) add(id, receiver string) {
	s.t.Helper()
	n := failure
	n.ID = id
	body, err := json.Marshal(n)
	s.must(err)
	s.must(s.Store.Tx(s.t.Context(), "add", func(ctx context.Context, tx *state.Tx) error {
		return tx.AddNotice(ctx, state.Notice{ID: id, Receiver: receiver, Environment: "prod", Run: n.Run, Occasion: n.On, Body: body})
	}))
}

// due makes a notice due now.
func (s *stage) due(id string) {
	s.t.Helper()
	s.must(s.Store.Tx(s.t.Context(), "due", func(ctx context.Context, tx *state.Tx) error { return tx.EndNotice(ctx, id, state.NoticeDue, "", 0) }))
}

func (s *stage) notice(id string) state.Notice {
	s.t.Helper()
	var all []state.Notice
	s.must(s.Store.Read(s.t.Context(), "read", func(ctx context.Context, tx *state.Tx) (err error) {
		all, err = tx.Notices(ctx, state.NoticeFilter{})
		return err
	}))
	for _, n := range all {
		if n.ID == id {
			return n
		}
	}
	s.t.Fatalf("there is no notice %s", id)
	return state.Notice{}
}

func (s *stage) deliver(want int) {
	s.t.Helper()
	if sent, err := s.Deliver(s.t.Context()); err != nil || sent != want {
		s.t.Fatalf("%d arrived, %v; want %d", sent, err, want)
	}
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// silent demands that nothing that stays says the secrets.
func (s *stage) silent(more ...string) {
	s.t.Helper()
	for _, text := range append(more, s.log.String()) {
		if strings.Contains(text, token) {
			s.t.Errorf("a secret is told: %s", text)
		}
	}
}

func each(t *testing.T, test func(s *stage)) {
	t.Helper()
	t.Parallel()
	statetest.Each(t, func(t *testing.T, p statetest.Place) { test(newStage(t, p)) }) //nolint:thelper // it is the test
}

func TestANoticeArrivesOnce(t *testing.T) {
	each(t, func(s *stage) {
		s.key = true
		s.add("n1", "on-call")
		s.deliver(1)
		s.deliver(0)
		if len(s.got) != 1 {
			s.t.Fatalf("%d requests", len(s.got))
		}
		r, body := s.got[0], s.bodies[0]
		var n Notice
		s.must(json.Unmarshal([]byte(body), &n))
		if n != failure || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Dbops-Notice") != "n1" || r.UserAgent() != "dbops/test" {
			s.t.Errorf("got %+v with %v", n, r.Header)
		}
		at, signature, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Dbops-Signature"), "t="), ",v1=")
		mac := hmac.New(sha256.New, []byte("k3y-"+token))
		mac.Write([]byte(at + "." + body))
		if signature != hex.EncodeToString(mac.Sum(nil)) {
			s.t.Errorf("the signature is %q", r.Header.Get("Dbops-Signature"))
		}
		if got := s.notice("n1"); got.State != state.NoticeSent || got.Attempts != 1 || got.Ended.IsZero() {
			s.t.Errorf("it is %+v", got)
		}
	})
}

func TestAReceiverThatIsAwayIsAskedAgainLater(t *testing.T) {
	each(t, func(s *stage) {
		s.answer = func(n int, w http.ResponseWriter) {
			switch n {
			case 1:
				w.WriteHeader(http.StatusBadGateway)
			case 2:
				w.Header().Set("Retry-After", "600")
				w.WriteHeader(http.StatusTooManyRequests)
			case 3:
				http.Redirect(w, s.got[0], "/elsewhere/"+token, http.StatusTemporaryRedirect)
			}
		}
		s.add("n1", "on-call")
		for i, want := range []struct {
			problem  string
			from, to time.Duration
		}{
			{"it answered 502 Bad Gateway", 0, 2 * time.Second},
			{"it answered 429 Too Many Requests", 9 * time.Minute, 10 * time.Minute},
			{"it answered 307 Temporary Redirect", 0, 8 * time.Second},
		} {
			s.deliver(0)
			s.deliver(0) // it is not due
			n := s.notice("n1")
			wait := time.Until(n.Due)
			if n.State != state.NoticeDue || n.Attempts != i+1 || n.Problem != want.problem || wait < want.from-time.Minute || wait > want.to {
				s.t.Errorf("after %d attempts it is %+v, due in %s", i+1, n, wait)
			}
			s.silent(n.Problem)
			s.due("n1")
		}
		s.deliver(1)
		if len(s.got) != 4 {
			s.t.Errorf("%d requests", len(s.got))
		}
	})
}

func TestNobodyAnswersAndNothingIsTold(t *testing.T) {
	each(t, func(s *stage) {
		s.server.Close()
		s.add("n1", "on-call")
		s.deliver(0)
		n := s.notice("n1")
		if !strings.Contains(n.Problem, "nobody answered") || !strings.Contains(n.Problem, "refused") {
			s.t.Errorf("it says %q", n.Problem)
		}
		s.silent(n.Problem)
	})
}

func TestAReceiverThatHangsHoldsNobodyUp(t *testing.T) {
	each(t, func(s *stage) {
		release := make(chan struct{})
		defer close(release)
		entered := make(chan struct{}, 1)
		s.answer = func(int, http.ResponseWriter) { entered <- struct{}{}; <-release }
		s.add("n1", "on-call")
		ctx, leave := context.WithCancel(s.t.Context())
		go func() { <-entered; leave() }()
		if sent, err := s.Deliver(ctx); sent != 0 || err != nil {
			s.t.Errorf("%d arrived, %v", sent, err)
		}
		if n := s.notice("n1"); n.State != state.NoticeDue || n.Problem != "dbops ended before it was answered" {
			s.t.Errorf("it is %+v", n)
		}
	})
}

func TestTwoCouriersSendItOnce(t *testing.T) {
	each(t, func(s *stage) {
		for _, id := range []string{"n1", "n2", "n3", "n4"} {
			s.add(id, "on-call")
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := s.Deliver(s.t.Context()); err != nil {
					s.t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(s.got) != 4 {
			s.t.Errorf("%d requests for 4 notices", len(s.got))
		}
	})
}

func TestANoticeIsGivenUpInTheEnd(t *testing.T) {
	each(t, func(s *stage) {
		s.answer = func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }
		s.add("n1", "on-call")
		s.add("n2", "nobody")
		s.deliver(0)
		if n := s.notice("n2"); n.State != state.NoticeDue || n.Attempts != 0 {
			s.t.Errorf("one for a webhook that this dbops.yaml does not have was touched: %+v", n)
		}
		s.Lifetime = time.Nanosecond
		s.due("n1")
		s.deliver(0)
		for id, want := range map[string]string{"n1": "it answered 404 Not Found", "n2": "no dbops.yaml that was asked knows this webhook"} {
			if n := s.notice(id); n.State != state.NoticeLost || n.Problem != want {
				s.t.Errorf("%s is %+v", id, n)
			}
		}
		s.deliver(0)
	})
}

func TestASecretThatCannotBeReadIsAProblemOfTheAttempt(t *testing.T) {
	each(t, func(s *stage) {
		s.Receiver = func(name string) (Receiver, bool) {
			return ReceiverOf(name, &config.Webhook{URLSecret: "env:URL"}, func(context.Context, string) (secret.Value, error) {
				return secret.Value{}, errors.New("env:URL is not set")
			}), true
		}
		s.add("n1", "on-call")
		s.deliver(0)
		if n := s.notice("n1"); !strings.Contains(n.Problem, "env:URL is not set") {
			s.t.Errorf("it is %+v", n)
		}
	})
}

func TestFormats(t *testing.T) {
	t.Parallel()
	body, err := json.Marshal(failure)
	if err != nil {
		t.Fatal(err)
	}
	gate, finished, approval := failure, failure, failure
	gate.On, gate.Text = config.OnGate, strings.Repeat("x", 2000)
	finished.On, finished.State = config.OnFinished, "done"
	approval.On, approval.Run, approval.Approval = config.OnApproval, "", "a1"
	key := secret.New(strings.Repeat("k", 32))
	for name, c := range map[string]struct {
		format string
		n      Notice
		want   []string
	}{
		"dbops": {config.FormatDbops, failure, []string{`"schema":"dbops/notice/v1"`, `"on":"failure"`}},
		"slack, escaped": {config.FormatSlack, failure, []string{
			`{"text":":red_circle: *prod/main: upgrade prod/main &lt;to 18&gt; failed*\ndisk full &amp; more\nmake room\nnext: dbops runs show r1a2b3c4d5\nrun r1a2b3c4d5, asked for by alice"}`,
		}},
		"pagerduty, a failure": {config.FormatPagerDuty, failure, []string{
			`"routing_key":"` + strings.Repeat("k", 32) + `"`, `"event_action":"trigger"`, `"dedup_key":"dbops/r1a2b3c4d5"`, `"severity":"error"`, `"source":"prod/main"`,
			`"summary":"prod/main: upgrade prod/main <to 18> failed: disk full & more"`, `"timestamp":"2026-01-02T03:04:05Z"`, `"custom_details":{"schema":"dbops/notice/v1"`,
		}},
		"pagerduty, a gate":         {config.FormatPagerDuty, gate, []string{`"severity":"warning"`, `xxx…"`}},
		"pagerduty, what is over":   {config.FormatPagerDuty, finished, []string{`"event_action":"resolve"`, `"dedup_key":"dbops/r1a2b3c4d5"`}},
		"pagerduty, of an approval": {config.FormatPagerDuty, approval, []string{`"event_action":"trigger"`, `"dedup_key":"dbops/a1n1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := json.Marshal(c.n)
			if err != nil {
				t.Fatal(err)
			}
			got, err := render(c.format, b, key)
			if err != nil || !json.Valid(got) {
				t.Fatalf("%v: %s", err, got)
			}
			for _, want := range c.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("no %s in %s", want, got)
				}
			}
		})
	}
	if got, err := render(config.FormatDbops, body, secret.Value{}); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%s, %v", got, err)
	}
}
