package containers_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/containers"
	"dbops/internal/secret"
)

func TestARolloutUnderLoadFailsNoQuery(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	c := p.start(t, containers.Options{Rate: 400, Lifetime: 50 * time.Millisecond})
	slots := []string{"a", "b"}
	for i := range 4 {
		was, is := slots[i%2], slots[(i+1)%2]
		before := c.Status()
		if before.User != p.prefix+"_"+was || before.Slot != was || before.Version != "version-of-"+was {
			t.Fatalf("it runs as %s of slot %s by %s", before.User, before.Slot, before.Version)
		}
		eventually(t, "it works", func() bool { return c.Status().Queries > before.Queries+20 })
		p.deliver(t, is, nil)
		if err := c.Rollout(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := c.Status()
		if _, old := after.Sessions[p.prefix+"_"+was]; old || after.User != p.prefix+"_"+is {
			t.Fatalf("sessions after the rollout: %v", after.Sessions)
		}
		eventually(t, "the server has no session of the old slot", func() bool { return p.sessionsOf(t, was) == 0 })
		eventually(t, "the new one works", func() bool { return c.Status().Queries > after.Queries+20 })
	}
	s := c.Status()
	if s.Failed != 0 || len(s.Errors) != 0 || s.Deployments != 5 || s.FailedDeployments != 0 {
		t.Errorf("%+v", s)
	}
	c.Close()
	// Every query that was counted has written once, and none twice.
	var n int
	if err := p.server.Superuser(t, p.database).QueryRow(t.Context(), "SELECT n FROM done").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if s = c.Status(); n < s.Queries || n > s.Queries+2 { // Close may have interrupted one of each session after its commit
		t.Errorf("%d queries have written %d times", s.Queries, n)
	}
	if err := c.Rollout(t.Context()); err == nil {
		t.Error("a closed container was rolled out")
	}
}

func TestACredentialThatDoesNotWorkFailsTheRolloutAndNoQuery(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	c := p.start(t, containers.Options{Rate: 200})
	for _, bad := range []struct {
		change map[string]any
		why    string
	}{
		{map[string]any{"password": "wrong-horse-battery"}, "password authentication failed"},
		{map[string]any{"dbname": "nowhere"}, `database "nowhere" does not exist`},
		{map[string]any{"port": 1}, "connection refused"},
		{map[string]any{"host": "localhost.localdomain"}, "no connection"},
		{map[string]any{"username": ""}, "it has no username"},
		{map[string]any{"databases": map[string]any{p.database: map[string]any{"host": "127.0.0.1", "dbname": p.database}}}, "no port"},
	} {
		p.deliver(t, "b", bad.change)
		err := c.Rollout(t.Context())
		if err == nil || !strings.Contains(err.Error(), bad.why) || !strings.HasPrefix(err.Error(), "roll out test/shop-api: ") {
			t.Errorf("%v: %v", bad.change, err)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Error("the error holds the password")
		}
	}
	p.delivered.Store(nil)
	if err := c.Rollout(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing is delivered") {
		t.Errorf("nothing is delivered: %v", err)
	}
	s := c.Status()
	eventually(t, "the old task goes on", func() bool { return c.Status().Queries > s.Queries+10 })
	if s = c.Status(); s.Failed != 0 || s.FailedDeployments != 7 || !strings.Contains(s.DeploymentError, "nothing is delivered") || s.User != p.prefix+"_a" {
		t.Errorf("%+v", s)
	}
	eventually(t, "no session of a failed task is left", func() bool { return p.sessionsOf(t, "b") == 0 })
}

func TestAContainerThatSticksIsFoundOutWhenItsRoleMayNotLogInAnyMore(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	c := p.start(t, containers.Options{Rate: 200, Lifetime: 20 * time.Millisecond})
	c.SetTrouble(containers.Trouble{Stick: true})
	p.deliver(t, "b", nil)
	if err := c.Rollout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := c.Status(); s.User != p.prefix+"_a" || !s.Trouble.Stick {
		t.Errorf("%+v", s)
	}
	p.server.Exec(t, "postgres", "ALTER ROLE "+p.prefix+"_a NOLOGIN")
	eventually(t, "queries fail", func() bool { return c.Status().Failed > 2 })
	s := c.Status()
	last := s.Errors[len(s.Errors)-1]
	if last.SQLState != "28000" || !strings.Contains(last.Message, "is not permitted to log in") || time.Since(last.At) > time.Minute || len(s.Errors) > 5 {
		t.Errorf("%+v", s.Errors)
	}
	c.SetTrouble(containers.Trouble{})
	if err := c.Rollout(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Reset()
	eventually(t, "it works again", func() bool { return c.Status().Queries > 20 })
	if s := c.Status(); s.Failed != 0 || len(s.Errors) != 0 || s.User != p.prefix+"_b" {
		t.Errorf("%+v", s)
	}
}

func TestALostSessionIsAFailedQueryAndComesBack(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	c := p.start(t, containers.Options{Rate: 100})
	p.server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+p.prefix+"_a'")
	eventually(t, "both sessions notice", func() bool { return c.Status().Failed == 2 })
	if e := c.Status().Errors[0]; e.SQLState != "57P01" && e.SQLState != "08006" {
		t.Errorf("%+v", e)
	}
	c.Reset()
	eventually(t, "it works again", func() bool { return c.Status().Queries > 20 })
	if s := c.Status(); s.Failed != 0 || s.Sessions[p.prefix+"_a"] != 2 {
		t.Errorf("%+v", s)
	}
}

func TestRolloutsFailAndAreSlowWhenTheyShall(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	c := p.start(t, containers.Options{Rate: 100})
	p.deliver(t, "b", nil)
	c.SetTrouble(containers.Trouble{Fail: 2, Slow: 50 * time.Millisecond})
	for range 2 {
		begun := time.Now()
		if err := c.Rollout(t.Context()); err == nil || !strings.Contains(err.Error(), "exit code 1") {
			t.Errorf("rollout: %v", err)
		}
		if time.Since(begun) < 50*time.Millisecond {
			t.Error("it was not slow")
		}
	}
	if err := c.Rollout(t.Context()); err != nil {
		t.Error(err)
	}
	c.SetTrouble(containers.Trouble{Fail: -1})
	for range 3 {
		if c.Rollout(t.Context()) == nil {
			t.Error("a rollout came through")
		}
	}
	if s := c.Status(); s.Failed != 0 || s.User != p.prefix+"_b" || s.Trouble.Fail != -1 {
		t.Errorf("%+v", s)
	}
}

func TestItStartsWhenItsCredentialComes(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	p.delivered.Store(nil)
	c := p.start(t, containers.Options{Rate: 100})
	if s := c.Status(); s.State != "starting" || s.User != "" || s.Queries != 0 || !strings.Contains(s.DeploymentError, "nothing is delivered") {
		t.Errorf("%+v", s)
	}
	p.deliver(t, "a", nil)
	eventually(t, "it starts", func() bool { return c.Status().State == "running" && c.Status().Queries > 0 })
}

func TestAContainerThatNobodyMindsOnlyReads(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	conn := p.server.Superuser(t, p.database)
	written := func() (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT n FROM done").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	c := p.start(t, containers.Options{Rate: 200, Rest: 300 * time.Millisecond})
	eventually(t, "it writes", func() bool { c.Mind(); return written() > 5 })
	last := -1
	eventually(t, "it writes no more", func() bool {
		now := written()
		still := now == last
		last = now
		time.Sleep(100 * time.Millisecond)
		return still
	})
	c.SetRate(300) // somebody is there
	eventually(t, "it writes again", func() bool { return written() > last+5 })
	if s := c.Status(); s.Resting || s.Rate != 300 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	c.SetRate(0)
	time.Sleep(50 * time.Millisecond) // what is under way ends
	before := c.Status().Queries
	time.Sleep(50 * time.Millisecond)
	if s := c.Status(); s.Queries != before || s.Sessions[p.prefix+"_a"] != 2 {
		t.Errorf("at rate 0 it went from %d to %+v", before, s)
	}
}

func TestEveryDatabaseOfACredentialIsUsed(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	second := p.server.Database(t)
	at := func(name string) map[string]any {
		return map[string]any{"host": p.server.Host, "port": strconv.Itoa(int(p.server.Port)), "dbname": name}
	}
	p.deliver(t, "a", map[string]any{"databases": map[string]any{p.database: at(p.database), second: at(second)}})
	c := p.start(t, containers.Options{Rate: 100})
	if s := c.Status(); !reflect.DeepEqual(s.Sessions, map[string]int{p.prefix + "_a": 4}) {
		t.Errorf("%+v", s)
	}
	eventually(t, "it works", func() bool { return c.Status().Queries > 20 })
	if s := c.Status(); s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsNoCredentialIsRefusedWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		``:                                      "not a JSON object",
		`hunter2`:                               "not a JSON object",
		`"hunter2"`:                             "",
		`{"username":7}`:                        `"username" is not of the type`,
		`{"username":"u"}`:                      "no password",
		`{"password":"hunter2"}`:                "no username",
		`{"engine":"mysql"}`:                    "want postgres",
		`{"username":"u","password":"hunter2"}`: "does not say where",
		`{"username":"u","password":"hunter2","host":"h","dbname":"d"}`:                      "is no port",
		`{"username":"u","password":"hunter2","host":"h","dbname":"d","port":70000}`:         "is no port",
		`{"username":"u","password":"hunter2","host":"h","dbname":"d","port":0}`:             "is no port",
		`{"username":"u","password":"hunter2","databases":{"x":{"host":"h","port":5432}}}`:   `where database "x" is`,
		`{"username":"u","password":"hunter2","host":"h","dbname":"d","port":{"hunter2":1}}`: `"port" is not of the type`,
		`{"username":"u","password":"hunter2","databases":{"x":{"host":"h","port":"hunter2"`: "not a JSON object",
	} {
		_, err := containers.ParseCredential(secret.New(text))
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
