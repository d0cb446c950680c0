package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// Receiver is a webhook, with what is needed to post to it.
type Receiver struct {
	Name, Format string
	URL          func(ctx context.Context) (secret.Value, error)
	Key          func(ctx context.Context) (secret.Value, error) // nil: it has none
}

// pagerDutyURL is where PagerDuty takes events, unless another place is named.
const pagerDutyURL = "https://events.pagerduty.com/v2/enqueue"

const (
	patience  = 10 * time.Second // of one attempt
	claim     = 30 * time.Second // for which nobody else makes one
	firstWait = 2 * time.Second
	mostWait  = 15 * time.Minute
	lifetime  = 24 * time.Hour
	kept      = 30 * 24 * time.Hour // after it has ended
	batch     = 200
	most      = 16 // receivers at once
)

// Courier sends notices that are due. Its methods may be called from any goroutine, and in several processes at once.
type Courier struct {
	Store     *state.Store
	Receiver  func(name string) (Receiver, bool)
	Client    *http.Client // see [NewClient]
	Log       *slog.Logger
	UserAgent string
	Lifetime  time.Duration // after which a notice that does not arrive is given up. Defaults to a day
}

// NewClient is a client that follows no redirects: a message goes where it was sent, or nowhere.
func NewClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Deliver makes one attempt for each notice that is due, and returns how many arrived. What a receiver did wrong is no error: it is written down.
func (c *Courier) Deliver(ctx context.Context) (sent int, err error) {
	const what = "send notices"
	var due []state.Notice
	err = c.Store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		due, err = tx.Notices(ctx, state.NoticeFilter{Due: true, Limit: batch})
		return err
	})
	if err != nil {
		return 0, err
	}
	byReceiver := map[string][]state.Notice{} // one that hangs holds only itself up
	for _, n := range due {
		byReceiver[n.Receiver] = append(byReceiver[n.Receiver], n)
	}
	var arrived atomic.Int64
	var all errgroup.Group
	all.SetLimit(most)
	for _, mine := range byReceiver {
		all.Go(func() error {
			for _, n := range mine {
				ok, err := c.one(ctx, n)
				if err != nil || ctx.Err() != nil {
					return err
				}
				if !ok { // it is away: the rest comes when it is asked again
					return nil
				}
				arrived.Add(1)
			}
			return nil
		})
	}
	err = all.Wait()
	sent = int(arrived.Load())
	if err == nil && sent > 0 {
		err = c.Store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error { return tx.ForgetNotices(ctx, kept) })
	}
	return sent, err
}

// one makes one attempt.
func (c *Courier) one(ctx context.Context, n state.Notice) (sent bool, err error) {
	what := "send notice " + n.ID + " to " + n.Receiver
	old := time.Since(n.Created) > cmp.Or(c.Lifetime, lifetime)
	r, known := c.Receiver(n.Receiver)
	if !known && !old { // another dbops.yaml may know it
		return false, nil
	}
	var mine bool
	err = c.Store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		mine, err = tx.ClaimNotice(ctx, n.ID, n.Attempts, claim)
		return err
	})
	if err != nil || !mine {
		return false, err
	}
	ended, problem, pause := state.NoticeSent, "", time.Duration(0)
	switch wait, err := c.attempt(ctx, r, known, n); {
	case err == nil:
	case ctx.Err() != nil:
		ended, problem, pause = state.NoticeDue, "dbops ended before it was answered", firstWait
	case old:
		ended, problem = state.NoticeLost, err.Error()
	default:
		ended, problem, pause = state.NoticeDue, err.Error(), max(wait, min(mostWait, firstWait<<min(n.Attempts, 20)))
	}
	if problem != "" {
		c.Log.Warn("a notice did not arrive", "notice", n.ID, "receiver", n.Receiver, "attempt", n.Attempts+1, "problem", problem)
	}
	// What was sent is written down though the caller leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err = c.Store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error { return tx.EndNotice(ctx, n.ID, ended, problem, pause) })
	return ended == state.NoticeSent, err
}

func (c *Courier) attempt(ctx context.Context, r Receiver, known bool, n state.Notice) (wait time.Duration, err error) {
	if !known {
		return 0, errors.New("no dbops.yaml that was asked knows this webhook")
	}
	return c.Post(ctx, r, n.ID, n.Body)
}

// Post makes one attempt to post a notice to a receiver. The error names no URL. wait is how long the receiver wants to be left alone.
func (c *Courier) Post(ctx context.Context, r Receiver, id string, notice []byte) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	target, err := r.URL(ctx)
	if err != nil {
		return 0, err
	}
	var key secret.Value
	if r.Key != nil {
		if key, err = r.Key(ctx); err != nil {
			return 0, err
		}
	}
	body, err := render(r.Format, notice, key)
	if err != nil {
		return 0, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, target.Reveal(), bytes.NewReader(body))
	if err != nil || q.URL.Host == "" {
		return 0, errors.New("what its url_secret holds is no URL")
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", c.UserAgent)
	q.Header.Set("Dbops-Notice", id)
	if r.Key != nil && r.Format != config.FormatPagerDuty {
		q.Header.Set("Dbops-Signature", sign(key, time.Now(), body))
	}
	answer, err := c.Client.Do(q)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // which repeats the URL
			err = e.Err
		}
		return 0, fmt.Errorf("nobody answered: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	if answer.StatusCode/100 == 2 {
		return 0, nil
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return min(max(0, time.Duration(seconds)*time.Second), time.Hour), fmt.Errorf("it answered %s", answer.Status)
}

// sign is the value of Dbops-Signature: the seconds of the epoch, and the HMAC-SHA256 of them, a dot and the body, in hexadecimal.
func sign(key secret.Value, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// ReceiverOf is a webhook of dbops.yaml. get reads a secret by its place.
func ReceiverOf(name string, w *config.Webhook, get func(ctx context.Context, place string) (secret.Value, error)) Receiver {
	r := Receiver{Name: name, Format: w.Format}
	at := func(place string) func(context.Context) (secret.Value, error) {
		return func(ctx context.Context) (secret.Value, error) {
			v, err := get(ctx, place)
			if err != nil {
				return v, fault.New(fault.KindOf(err), "read a secret of the webhook "+name, err)
			}
			return v, nil
		}
	}
	switch {
	case w.URLSecret != "":
		r.URL = at(w.URLSecret)
	case w.URL != "":
		r.URL = func(context.Context) (secret.Value, error) { return secret.New(w.URL), nil }
	default:
		r.URL = func(context.Context) (secret.Value, error) { return secret.New(pagerDutyURL), nil }
	}
	if w.KeySecret != "" {
		r.Key = at(w.KeySecret)
	}
	return r
}
