package containers

import (
	"crypto/tls"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
)

// Status is what a container tells of itself.
type Status struct {
	Environment string `json:"environment"`
	Container   string `json:"container"`
	Platform    string `json:"platform"`
	State       string `json:"state"` // starting, running, deploying
	// The credential that the newest task read, and the open sessions by the role that they logged in as.
	User     string         `json:"user"`
	Slot     string         `json:"slot"`
	Version  string         `json:"version"`
	Sessions map[string]int `json:"sessions"`
	// Queries are short transactions since the start or the last reset; those that failed are among them.
	Queries int       `json:"queries"`
	Failed  int       `json:"failed"`
	Errors  []Failure `json:"errors"` // the last ones, oldest first
	// Deployments since the start, the first task's included, and why the last one failed.
	Deployments       int     `json:"deployments"`
	FailedDeployments int     `json:"failed_deployments"`
	DeploymentError   string  `json:"deployment_error,omitempty"`
	Rate              float64 `json:"rate"` // transactions a second
	Resting           bool    `json:"resting"`
	Trouble           Trouble `json:"trouble"`
}

// Failure is a query that failed.
type Failure struct {
	At       time.Time `json:"at"`
	SQLState string    `json:"sqlstate"` // the server's, else 08001 (no connection) or 08006 (the connection was lost)
	Message  string    `json:"message"`
}

func (f Failure) String() string { return f.Message + " (" + f.SQLState + ")" }

// Trouble is what goes wrong with a container because somebody asked for it.
type Trouble struct {
	Fail  int           `json:"fail,omitempty"`    // so many deployments fail from now on; negative: all
	Slow  time.Duration `json:"slow_ns,omitempty"` // that a new task needs before it begins
	Stick bool          `json:"stick,omitempty"`   // new tasks use the credential of the old one
}

// state is what is counted.
type state struct {
	deploying                      bool
	sessions                       map[string]int
	queries, failed                int
	errors                         []Failure
	deployments, failedDeployments int
	lastDeployment                 string
	trouble                        Trouble
}

// note changes the state.
func (c *Container) note(f func(*state)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.state)
}

// Status tells how the container is. Whoever asks minds it.
func (c *Container) Status() Status {
	c.Mind()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Environment: c.spec.Environment, Container: c.spec.Name, Platform: c.spec.Platform, State: "running",
		Sessions: maps.Clone(c.state.sessions), Queries: c.state.queries, Failed: c.state.failed, Errors: slices.Clone(c.state.errors),
		Deployments: c.state.deployments, FailedDeployments: c.state.failedDeployments, DeploymentError: c.state.lastDeployment,
		Trouble: c.state.trouble,
	}
	s.Rate, s.Resting = c.paceLocked()
	switch {
	case c.task == nil:
		s.State = "starting"
	case c.state.deploying:
		s.State = "deploying"
	}
	if c.task != nil {
		s.User, s.Slot, s.Version = c.task.cred.Username, c.task.cred.Slot, c.task.version
	}
	return s
}

// Reset sets the counts of queries to zero and forgets the errors.
func (c *Container) Reset() {
	c.Mind()
	c.note(func(s *state) { s.queries, s.failed, s.errors = 0, 0, []Failure{} })
}

// SetTrouble makes trouble, or, with the zero value, none any more.
func (c *Container) SetTrouble(t Trouble) {
	c.Mind()
	c.note(func(s *state) { s.trouble = t })
}

// trouble is what a deployment meets, and counts it.
func (c *Container) trouble() Trouble {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.state.trouble
	if t.Fail > 0 {
		c.state.trouble.Fail--
	}
	return t
}

// SetRate sets the transactions a second; the container rests no more.
func (c *Container) SetRate(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate, c.explicit = max(rate, 0), true
	c.repace()
}

// Mind ends the rest of a container: somebody is there who wants to see it work.
func (c *Container) Mind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, resting := c.paceLocked()
	if c.minded = time.Now(); resting {
		c.repace()
	}
}

// repace lets the sessions ask for their pace again. The caller holds the lock.
func (c *Container) repace() {
	close(c.repaced)
	c.repaced = make(chan struct{})
}

// pace is how fast the sessions work together. At rest they only read: writes without end would fill the archive of a sandbox that was
// left running.
func (c *Container) pace() (rate float64, resting bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rate, resting = c.paceLocked()
	return rate, resting, c.repaced
}

func (c *Container) paceLocked() (rate float64, resting bool) {
	if c.explicit || time.Since(c.minded) < c.opts.Rest {
		return c.rate, false
	}
	return min(c.rate, restRate), true
}

// count counts one query. One that the end of the container interrupted is none.
func (c *Container) count(err error) {
	if err != nil && c.ctx.Err() != nil {
		return
	}
	c.note(func(s *state) {
		s.queries++
		if err != nil {
			s.failed++
			s.errors = append(s.errors, describe(err))
			s.errors = s.errors[max(0, len(s.errors)-maxErrors):]
		}
	})
}

// describe tells what a client sees of an error. Neither pgx nor the server repeats a password.
func describe(err error) Failure {
	f := Failure{At: time.Now().UTC(), SQLState: "08006", Message: pg.Cause(err)}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		f.SQLState = "08001"
	}
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		f.Message = untrusted.Error()
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		f.SQLState, f.Message = answer.Code, answer.Message
	}
	return f
}
