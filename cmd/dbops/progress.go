package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

const (
	// progressFrom is from how many instances on it is said how far a look at them is.
	progressFrom  = 20
	progressPause = 100 * time.Millisecond
	progressParts = 20 // each of which is told, however fast they come
)

// progress is one line on a terminal that says how far a look at many instances is, and goes before anything else is written.
type progress struct {
	w io.Writer

	mu    sync.Mutex
	shown int       // width of what is there
	last  time.Time // it was written
}

// showProgress has looks at many instances tell how far they are, where a person looks at standard error.
func (c *cli) showProgress(o *app.Options) {
	if terminal(c.err) && !c.screen {
		c.looking = &progress{w: c.err}
		o.Progress = c.looking.tell
	}
}

// tell writes the line anew, not more often than anybody reads it.
func (p *progress) tell(done, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of < progressFrom || done*progressParts%of >= progressParts && time.Since(p.last) < progressPause {
		return
	}
	text := fmt.Sprintf("looked at %d of %d instances", done, of)
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.shown-len(text))))
	p.shown, p.last = len(text), time.Now()
}

// wipe takes the line away, until it is written anew. A nil progress has none.
func (p *progress) wipe() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.shown))
	}
	p.shown = 0
}

// cutShort is err, which ended a look at instances, with how many of them it came to.
func cutShort[T any](err error, all []T, errOf func(T) error) error {
	if fault.KindOf(err) != fault.Interrupted {
		return err
	}
	asked := 0
	for _, one := range all {
		if !unasked(errOf(one)) {
			asked++
		}
	}
	return fault.New(fault.Interrupted, "look at instances", cloud.Because(fmt.Sprintf("interrupted; what is shown is of %d of %d", asked, len(all)), err))
}

// unasked tells whether an instance has no answer because the command was cut short.
func unasked(err error) bool { return err != nil && fault.KindOf(err) == fault.Interrupted }

// problems are why instances could not be looked at, by what they say: a region that does not answer says the same of all its instances.
type problems struct {
	texts []string            // in order
	names map[string][]string // of the instances, by the text
}

func (p *problems) add(name string, err error) {
	if err == nil || unasked(err) {
		return
	}
	text := oneBlock(err.Error())
	if hint := fault.HintOf(err); hint != "" {
		text += "\n  next: " + oneBlock(hint)
	}
	if p.names == nil {
		p.names = map[string][]string{}
	}
	if _, known := p.names[text]; !known {
		p.texts = append(p.texts, text)
	}
	p.names[text] = append(p.names[text], name)
}

// manyNames is how many instances are named that have the same problem.
const manyNames = 3

func (p *problems) print(w io.Writer) {
	for _, text := range p.texts {
		names := p.names[text]
		more := ""
		if n := len(names) - manyNames; n > 1 {
			names, more = names[:manyNames], fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(w, "\nx %s%s  %s\n", strings.Join(names, ", "), more, text)
	}
}
