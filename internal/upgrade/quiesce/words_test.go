package quiesce

import "testing"

func TestASessionInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s    Session
		want string
	}{
		{Session{PID: 7, Role: "app", Application: "psql", Database: "shop", State: "idle"}, "process 7 of app (psql) in database shop, idle"},
		{Session{PID: 7, Role: "app", Database: "shop", State: "idle"}, "process 7 of app in database shop, idle"},
		{Session{Role: "boss", Database: "shop", State: StateMayLogIn}, "boss in database shop, may log in"},
	} {
		if got := c.s.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
