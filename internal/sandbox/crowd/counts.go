package crowd

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"dbops/internal/sandbox/awsid"
)

// Counts is what was asked of the clouds, retries included.
type Counts struct {
	mu   sync.Mutex
	all  map[string]int
	held map[string]chan struct{} // by project: closed when it answers again
}

// hold keeps the answers of a project back until release is called, or whoever asked has gone.
func (c *Counts) hold(project string) (release func()) {
	until := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[string]chan struct{}{}
	}
	c.held[project] = until
	return sync.OnceFunc(func() {
		close(until)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.held, project)
	})
}

func (c *Counts) wait(r *http.Request, project string) {
	c.mu.Lock()
	until := c.held[project]
	c.mu.Unlock()
	if until == nil {
		return
	}
	select {
	case <-until:
	case <-r.Context().Done():
	}
}

// Take returns how often each action was asked for in each place since the last Take: "eu-west-1 DescribeDBInstances", "crowd-one instances".
func (c *Counts) Take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := maps.Clone(c.all)
	clear(c.all)
	return out
}

func (c *Counts) add(place, action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]int{}
	}
	c.all[place+" "+action]++
}

// aws counts the requests of a region by action. What has none, such as CloudWatch's, is counted by its service.
func (c *Counts) aws(region string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, awsid.MaxBody+1))
		if err != nil {
			http.Error(w, "the request could not be read", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		action := awsid.Scope(r)
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
			action = form.Get("Action")
		}
		c.add(region, action)
		next.ServeHTTP(w, r)
	})
}

// google counts the requests of a project by the end of their path: instances is the list, instances/NAME one of them.
func (c *Counts) google(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, path, ok := strings.Cut(r.URL.Path, "/projects/"); ok {
			parts := strings.Split(path, "/")
			switch {
			case len(parts) == 3 && parts[1] == "instances":
				c.add(parts[0], "instances/NAME")
			case len(parts) > 1:
				c.add(parts[0], parts[len(parts)-1])
			}
			c.wait(r, parts[0])
		}
		next.ServeHTTP(w, r)
	})
}
