// Package grammar is PostgreSQL's own grammar, of version 17, without C: text in, the tree as JSON out.
//
// The grammar is a WebAssembly module that takes over a second and much memory to start. It is started by the first [Parse], once: its
// library starts another one for each call that runs at the same time, so calls take turns.
package grammar

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"unicode/utf8"

	"github.com/wasilibs/go-pgquery/parser"
)

// Major is the version of PostgreSQL whose grammar it is.
const Major = 17

// Error is a text that the grammar does not know.
type Error struct {
	Message string
	Offset  int // bytes into the text, -1 if unknown
}

func (e *Error) Error() string { return e.Message }

var (
	turn    sync.Mutex
	started bool
)

// start compiles the module. That makes much garbage once: it is collected more often than usual meanwhile, and then at once, so that
// the process stays small.
func start() error {
	defer runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(startPercent))
	_, err := parser.ParseToJSON("select 1")
	started = err == nil
	return err
}

const startPercent = 40

// Parse returns the tree of a text, in the JSON of libpg_query. A text that is none is an [Error].
func Parse(sql string) (tree string, err error) {
	turn.Lock()
	defer turn.Unlock()
	defer func() { // the module's host panics on what it did not foresee
		if p := recover(); p != nil {
			err = fmt.Errorf("the SQL grammar failed: %v", p)
		}
	}()
	if !started {
		if err := start(); err != nil {
			return "", err
		}
	}
	tree, err = parser.ParseToJSON(sql)
	if e, ok := errors.AsType[*parser.Error](err); ok {
		return "", &Error{Message: e.Message, Offset: offset(sql, e.Cursorpos)}
	}
	return tree, err
}

// offset is the byte of the nth character.
func offset(sql string, n int) int {
	if n <= 0 {
		return -1
	}
	at := 0
	for i := 1; i < n && at < len(sql); i++ {
		_, size := utf8.DecodeRuneInString(sql[at:])
		at += size
	}
	return at
}
