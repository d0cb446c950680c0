// Package notify tells people of what happens, by webhook: of gates, of approvals that are asked for, of failures and of finished runs.
//
// A [Notice] is stored in the same transaction as what it tells of (see package op), and a [Courier] sends it afterwards, in whatever process has the
// state open, at least once. A receiver that is away delays nothing: the notice waits for it, for a day. No notice holds more than the journal does.
package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dbops/internal/config"
	"dbops/internal/secret"
)

// Schema is that of a notice's JSON.
const Schema = "dbops/notice/v1"

// Notice is what a receiver is told.
type Notice struct {
	Schema      string    `json:"schema"`
	ID          string    `json:"id"`
	On          string    `json:"on"` // gate, approval, failure, finished, test
	At          time.Time `json:"at"`
	Environment string    `json:"environment"`
	Instance    string    `json:"instance"`
	Run         string    `json:"run,omitempty"`
	Approval    string    `json:"approval,omitempty"`
	Plan        string    `json:"plan,omitempty"` // its hash
	Kind        string    `json:"kind,omitempty"` // of operation: upgrade.run
	Title       string    `json:"title"`
	State       string    `json:"state,omitempty"` // of the run
	Step        string    `json:"step,omitempty"`
	Text        string    `json:"text"`           // what is waited for, or what failed
	Hint        string    `json:"hint,omitempty"` // what to do about that
	Next        string    `json:"next,omitempty"` // the command that shows more
	Requester   string    `json:"requester,omitempty"`
	Actor       string    `json:"actor,omitempty"`
}

// OnTest is the occasion of a notice that somebody sends to see whether it arrives.
const OnTest = "test"

// line is a notice in a line for people.
func (n Notice) line() string {
	word := map[string]string{
		config.OnGate: "waits for a person", config.OnApproval: "needs an approval", config.OnFailure: "failed", config.OnFinished: "is " + n.State, OnTest: "is a test",
	}[n.On]
	return fmt.Sprintf("%s/%s: %s %s", n.Environment, n.Instance, n.Title, word)
}

// about are the lines below it.
func (n Notice) about() []string {
	var lines []string
	if n.Text != "" {
		lines = append(lines, n.Text)
	}
	if n.Hint != "" {
		lines = append(lines, n.Hint)
	}
	if n.Next != "" {
		lines = append(lines, "next: "+n.Next)
	}
	if n.Run != "" {
		lines = append(lines, "run "+n.Run+", asked for by "+n.Requester)
	}
	return lines
}

// render is a notice as a receiver of a format wants it posted.
func render(format string, body []byte, key secret.Value) ([]byte, error) {
	var n Notice
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, fmt.Errorf("read the notice: %w", err)
	}
	switch format {
	case config.FormatSlack:
		return slack(n)
	case config.FormatPagerDuty:
		return pagerDuty(n, body, key)
	}
	return body, nil
}

// slack is a message of an incoming webhook.
func slack(n Notice) ([]byte, error) {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	mark := map[string]string{config.OnGate: ":hand:", config.OnApproval: ":hand:", config.OnFailure: ":red_circle:", config.OnFinished: ":white_check_mark:"}[n.On]
	text := strings.TrimSpace(mark + " *" + escape.Replace(n.line()) + "*")
	for _, line := range n.about() {
		text += "\n" + escape.Replace(line)
	}
	return marshal(map[string]string{"text": text})
}

// The limits of PagerDuty's Events API v2.
const (
	maxSummary = 1024
	maxDedup   = 255
)

// pagerDuty is an event: a run that waits or failed triggers an incident, and the same run, finished, resolves it.
func pagerDuty(n Notice, body []byte, key secret.Value) ([]byte, error) {
	action, severity := "trigger", "warning"
	switch n.On {
	case config.OnFailure:
		severity = "error"
	case config.OnFinished:
		action, severity = "resolve", "info"
	case OnTest:
		severity = "info"
	}
	about := n.Run
	if about == "" {
		about = n.Approval + n.ID
	}
	return marshal(map[string]any{
		"routing_key": key.Reveal(), "event_action": action, "dedup_key": cut("dbops/"+about, maxDedup),
		"payload": map[string]any{
			"summary": cut(n.line()+": "+n.Text, maxSummary), "source": n.Environment + "/" + n.Instance, "severity": severity,
			"timestamp": n.At.Format(time.RFC3339), "component": n.Instance, "group": n.Environment, "class": n.Kind, "custom_details": json.RawMessage(body),
		},
	})
}

// marshal leaves < and > as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
