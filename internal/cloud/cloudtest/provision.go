package cloudtest

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Upgrade is what becomes of the known instance of a stage that is provisioned anew.
type Upgrade struct {
	Major   int               // of the new instance
	Admin   string            // its admin login
	Carried map[string]string // the parameters of Known that go along
	Shown   map[string]string // and what SHOW then says of them on the real server
	Lost    string            // a parameter of Known that the new major does not know
	// Lose loses the answer to the next request for a new instance.
	Lose func()
}

// password is one that both clouds take.
const password = "staple-battery-17"

// RunProvisioner checks that the changer of a stage keeps the promises of cloud.Provisioner. Its fault method is "Provision".
func RunProvisioner(t *testing.T, s *Stage, u *Upgrade) {
	t.Helper()
	p, ok := s.Changer.(cloud.Provisioner)
	if !ok {
		t.Fatalf("%T provisions nothing", s.Changer)
	}
	wish := func(target string) cloud.Provision {
		return cloud.Provision{
			Source: s.Known, Target: target, Major: u.Major, Admin: u.Admin, Password: secret.New(password),
			Labels: map[string]string{"dbops-run": "run-" + target},
		}
	}
	t.Run("it knows the newer majors", func(t *testing.T) { s.majors(t, p, u) })
	t.Run("what it would make is told", func(t *testing.T) {
		got, err := p.Prospect(t.Context(), wish("prospect"))
		if err != nil {
			t.Fatal(err)
		}
		if cloud.Major(got.Version) != u.Major || got.Admin != u.Admin || !maps.Equal(got.Parameters, u.Carried) {
			t.Errorf("got %+v", got)
		}
		if !strings.Contains(strings.Join(got.Lost, "\n"), u.Lost) {
			t.Errorf("%s is not said to be lost: %q", u.Lost, got.Lost)
		}
	})
	t.Run("what cannot be made is refused", func(t *testing.T) { s.unprovisioned(t, p, wish) })
	t.Run("trouble", func(t *testing.T) { s.provisionTrouble(t, p, wish("troubled")) })
	t.Run("one is made", func(t *testing.T) { s.provisions(t, p, u, wish("made")) })
	t.Run("one that fails says why, and can be removed", func(t *testing.T) {
		s.Fault("Provision", "fail", 1)
		w := wish("failing")
		w.Unprotected = true
		r, err := p.Provision(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ends(t, r, fault.Internal); !strings.Contains(err.Error(), "sandbox") || fault.HintOf(err) == "" {
			t.Errorf("the provider's reason is missing: %v", err)
		}
		if again, err := p.Provisioning(t.Context(), w, r.At); err != nil {
			t.Error(err)
		} else {
			_ = s.ends(t, again, fault.Internal)
		}
		if text := marshal(t, r); strings.Contains(text, password) || r.RequestID == "" {
			t.Errorf("the receipt says too much, or too little: %s", text)
		}
		s.remove(t, w.Target)
		s.discard(t, p, w)
	})
}

func (s *Stage) majors(t *testing.T, p cloud.Provisioner, u *Upgrade) {
	t.Helper()
	source := get(t, p, s.Known)
	all, err := p.Majors(t.Context(), s.Known)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for i, o := range all {
		if o.Major <= source.Major || cloud.Major(o.Version) != o.Major || cloud.Major(o.InPlace) != o.Major || i > 0 && o.Major <= all[i-1].Major {
			t.Errorf("offer %d of %+v", i, all)
		}
		found = found || o.Major == u.Major
	}
	if !found {
		t.Errorf("%d is not among %+v", u.Major, all)
	}
	_, err = p.Majors(t.Context(), "dbops-no-such-instance")
	failed(t, err, fault.NotFound)
	_, err = p.Majors(t.Context(), "")
	failed(t, err, fault.Invalid)
}

// unprovisioned checks what is refused before anything is made.
func (s *Stage) unprovisioned(t *testing.T, p cloud.Provisioner, wish func(string) cloud.Provision) {
	t.Helper()
	source := get(t, p, s.Known)
	for name, c := range map[string]struct {
		change func(*cloud.Provision)
		kind   fault.Kind
		says   string
	}{
		"the same major":             {func(w *cloud.Provision) { w.Major = source.Major }, fault.Invalid, "not newer"},
		"an older major":             {func(w *cloud.Provision) { w.Major = source.Major - 1 }, fault.Invalid, "not newer"},
		"a major that is not there":  {func(w *cloud.Provision) { w.Major = 99 }, fault.Invalid, "no PostgreSQL 99"},
		"another admin":              {func(w *cloud.Provision) { w.Admin = "somebody" }, fault.Invalid, "somebody"},
		"no password":                {func(w *cloud.Provision) { w.Password = secret.Value{} }, fault.Invalid, "no password"},
		"no labels":                  {func(w *cloud.Provision) { w.Labels = nil }, fault.Invalid, "no labels"},
		"no name":                    {func(w *cloud.Provision) { w.Target = "" }, fault.Invalid, ""},
		"the name of its source":     {func(w *cloud.Provision) { w.Target = w.Source }, fault.Invalid, "name of its source"},
		"a source that is not there": {func(w *cloud.Provision) { w.Source = "dbops-no-such-instance" }, fault.NotFound, "dbops-no-such-instance"},
	} {
		t.Run(name, func(t *testing.T) {
			w := wish("refused")
			c.change(&w)
			_, err := p.Provision(t.Context(), w)
			failed(t, err, c.kind)
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), password) {
				t.Errorf("got %v", err)
			}
			if c.says == "not newer" && fault.HintOf(err) == "" {
				t.Error("it is not said what there is")
			}
			if w.Target != "" && w.Target != s.Known {
				_, err = p.Provisioning(t.Context(), w, time.Now())
				failed(t, err, fault.NotFound)
			}
		})
	}
	t.Run("a name that is taken", func(t *testing.T) {
		s.Spare(t, "taken")
		w := wish("taken")
		_, err := p.Provision(t.Context(), w)
		failed(t, err, fault.Invalid)
		_, looked := p.Provisioning(t.Context(), w, time.Now())
		failed(t, looked, fault.Invalid)
		if !errors.Is(err, cloud.ErrExists) || !errors.Is(looked, cloud.ErrExists) {
			t.Errorf("it is not said that the name is taken: %v; %v", err, looked)
		}
		s.discard(t, p, w)
	})
}

// provisionTrouble checks that a provision is asked for once, and can be asked for again when it was not accepted.
func (s *Stage) provisionTrouble(t *testing.T, p cloud.Provisioner, w cloud.Provision) {
	t.Helper()
	for effect, kind := range map[string]fault.Kind{
		"throttle": fault.Throttled, "deny": fault.Denied, "unavailable": fault.Unavailable, "drop": fault.Unavailable,
	} {
		t.Run("it is asked once to "+effect, func(t *testing.T) {
			s.Fault("Provision", effect, 2)
			_, err := p.Provision(t.Context(), w)
			left := s.Faults()
			failed(t, err, kind)
			if left != 1 {
				t.Errorf("%d of 2 failures are left", left)
			}
			if effect == "deny" && fault.PermissionOf(err) != s.Permissions["Provision"] {
				t.Errorf("missing %q, want %q: %v", fault.PermissionOf(err), s.Permissions["Provision"], err)
			}
			if open := strings.Contains(fault.HintOf(err), "may have been accepted"); open != (kind == fault.Unavailable) {
				t.Errorf("hint %q", fault.HintOf(err))
			}
			if strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), w.Target) {
				t.Errorf("it says too much, or too little: %v", err)
			}
			_, err = p.Provisioning(t.Context(), w, time.Now())
			failed(t, err, fault.NotFound)
		})
	}
	s.discard(t, p, w)
}

// provisions makes an instance as a process would that loses every answer.
func (s *Stage) provisions(t *testing.T, p cloud.Provisioner, u *Upgrade, w cloud.Provision) {
	t.Helper()
	since := time.Now()
	u.Lose()
	_, err := p.Provision(t.Context(), w)
	failed(t, err, fault.Unavailable)
	if !strings.Contains(fault.HintOf(err), "may have been accepted") {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	if _, err := p.Provision(t.Context(), w); !errors.Is(err, cloud.ErrExists) {
		t.Errorf("asked twice: %v", err)
	}
	r, err := p.Provisioning(t.Context(), w, since)
	if err != nil || r.Change != cloud.ChangeProvision || r.Instance != w.Target {
		t.Fatalf("%+v, %v", r, err)
	}
	if text := marshal(t, r) + fmt.Sprintf("%+v", w); strings.Contains(text, password) {
		t.Errorf("the password is told: %s", text)
	}
	s.finish(t, r)
	for name, change := range map[string]func(*cloud.Provision){
		"of other labels":   func(w *cloud.Provision) { w.Labels = map[string]string{"dbops-run": "another"} },
		"of another major":  func(w *cloud.Provision) { w.Major-- },
		"without any label": func(w *cloud.Provision) { w.Labels = nil },
	} {
		other := w
		change(&other)
		if _, err := p.Provisioning(t.Context(), other, since); !errors.Is(err, cloud.ErrExists) {
			t.Errorf("one %s is not said to be another: %v", name, err)
		}
	}
	s.provisioned(t, p, u, w)
	err = p.Discard(t.Context(), w)
	if err != nil { // a cloud that made something beside it
		failed(t, err, fault.Busy)
	}
	s.modify(t, w.Target, cloud.Settings{DeletionProtection: new(false)})
	left, ok, _, err := p.Provisioned(t.Context(), w)
	if err != nil || ok || left.DeletionProtection == nil {
		t.Errorf("what was changed is not left to do: %+v, %v, %v", left, ok, err)
	}
	s.remove(t, w.Target)
	s.discard(t, p, w)
}

// provisioned checks that the new instance is what was asked for, and its real server, too.
func (s *Stage) provisioned(t *testing.T, p cloud.Provisioner, u *Upgrade, w cloud.Provision) {
	t.Helper()
	source, target := get(t, p, w.Source), get(t, p, w.Target)
	left, ok, lost, err := p.Provisioned(t.Context(), w)
	if err != nil || !ok || !left.Empty() {
		t.Errorf("left %+v, %v, %v", left, ok, err)
	}
	if text := strings.Join(lost, "\n"); !strings.Contains(text, u.Lost) || strings.Contains(text, "parameter group") {
		t.Errorf("lost %q", lost)
	}
	if target.Major != u.Major || target.Labels["dbops-run"] != w.Labels["dbops-run"] || target.Labels["environment"] != "prod" {
		t.Errorf("major %d, labels %v", target.Major, target.Labels)
	}
	like := *target
	like.Name, like.EngineVersion, like.Major, like.State, like.RawState, like.Created = source.Name, source.EngineVersion, source.Major, source.State, source.RawState, source.Created
	like.Endpoints, like.Zone, like.SecondaryZone, like.Labels, like.Raw, like.Revision = source.Endpoints, source.Zone, source.SecondaryZone, source.Labels, source.Raw, source.Revision
	like.TLS.CACert, like.TLS.Expires = source.TLS.CACert, source.TLS.Expires
	like.Backups.EarliestRestorable, like.Backups.LatestRestorable = source.Backups.EarliestRestorable, source.Backups.LatestRestorable
	if got, want := marshal(t, like), marshal(t, source); got != want {
		t.Errorf("the new instance is not like its source:\n%s\n%s", got, want)
	}
	if len(target.Endpoints) == 0 || target.Endpoints[0].Port != source.Endpoints[0].Port || target.Endpoints[0] == source.Endpoints[0] || target.SecondaryZone == "" {
		t.Errorf("endpoints %v, of the source %v; standby in %q", target.Endpoints, source.Endpoints, target.SecondaryZone)
	}
	if got := s.Query(t, w.Target, "select current_setting('server_version_num')::int / 10000"); got != strconv.Itoa(u.Major) {
		t.Errorf("the server is of major %s", got)
	}
	if got := s.Query(t, w.Target, "select count(*)::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"); got != "0" {
		t.Errorf("it is not empty: %s", got)
	}
	for name, want := range u.Shown {
		if got := s.Query(t, w.Target, "select current_setting('"+name+"')"); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if err := login(t, target.Endpoints[0], u.Admin, password); err != nil {
		t.Errorf("the admin cannot log in: %v", err)
	}
	if err := login(t, target.Endpoints[0], u.Admin, password+"x"); err == nil {
		t.Error("any password is good")
	}
}

// login logs in at the address of an instance, and tells what refused it.
func login(t *testing.T, at cloud.Endpoint, user, password string) error {
	t.Helper()
	cfg, err := pgx.ParseConfig(fmt.Sprintf("sslmode=require dbname=postgres host=%s port=%d user=%s", at.Host, at.Port, user))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password, cfg.ConnectTimeout = password, prompt
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		return err
	}
	return conn.Close(t.Context())
}

// discard removes what was made beside an instance, twice.
func (s *Stage) discard(t *testing.T, p cloud.Provisioner, w cloud.Provision) {
	t.Helper()
	for range 2 {
		if err := p.Discard(t.Context(), w); err != nil {
			t.Error(err)
		}
	}
}
