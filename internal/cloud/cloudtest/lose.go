package cloudtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

// Loser stands before a played cloud, which then does what it is asked for, and whose answer nobody gets.
type Loser struct {
	what atomic.Pointer[string]
}

// Lose loses the answer of the next request of which the method, path and form say what: "Action=CreateDBInstance", or
// "POST /v1/projects/shop-prod/instances" at their end.
func (l *Loser) Lose(what string) { l.what.Store(&what) }

// Front is played behind the loser.
func (l *Loser) Front(played http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := l.what.Load()
		if what == nil {
			played.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		meant := strings.HasSuffix(r.Method+" "+r.URL.Path, *what) || bytes.Contains(body, []byte(*what+"&"))
		if !meant || !l.what.CompareAndSwap(what, nil) {
			played.ServeHTTP(w, r)
			return
		}
		played.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler) // closes the connection
	})
}
