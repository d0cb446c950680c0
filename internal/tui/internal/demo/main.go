// Command demo shows the terminal UI on a fake core, to look at it and to test the whole of it in a terminal.
//
// It contacts nothing and is not part of the product. The flags switch on what is hard to come by in real life: slow and failing
// providers, busy proxies, a panic.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/proxy"
	"dbops/internal/tui"
	"dbops/internal/tui/internal/fake"
)

func main() { os.Exit(run()) } //nolint:forbidigo // this is main

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var (
		slow    = flag.Duration("slow", 300*time.Millisecond, "longest time that an instance takes to answer")
		drain   = flag.Duration("drain", 2*time.Second, "time that a busy proxy takes to close")
		broken  = flag.Bool("broken", false, "the configuration cannot be read")
		bug     = flag.Bool("panic", false, "panic while reading the configuration")
		refresh = flag.Duration("refresh", tui.DefaultRefresh, "how often data is read")
		ascii   = flag.Bool("ascii", false, "no glyph outside ASCII")
		state   = flag.String("state", "", "where the report of a crash goes")
		light   = flag.Bool("light", false, "light background, whatever the terminal says")
	)
	flag.Parse()
	d := &demo{Core: fake.New(time.Now), bug: *bug, drain: *drain}
	defer d.wg.Wait()
	for n, i := range fake.Instances() {
		d.Delay(i.Environment+"/"+i.Name, *slow*time.Duration(n+1)/time.Duration(len(fake.Instances())))
	}
	d.Fail("prod/auth", nil)
	if *broken {
		d.FailLoad(fault.Newf(fault.Config, "read dbops.yaml", "line 12: unknown key %q", "instnaces").Hint("did you mean instances?"))
	}
	opts := tui.Options{Version: "demo", StateDir: *state, RefreshEvery: *refresh, ASCII: *ascii}
	if *light {
		opts.Background = tui.BackgroundLight
	}
	err := tui.Run(ctx, d, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		if h := fault.HintOf(err); h != "" {
			fmt.Fprintln(os.Stderr, "hint:", h)
		}
	}
	return fault.ExitStatus(err)
}

// demo is the fake core with traffic on its proxies.
type demo struct {
	*fake.Core
	bug   bool
	drain time.Duration
	wg    sync.WaitGroup
}

// Instances implements the core.
func (d *demo) Instances(env string) ([]app.Instance, error) {
	if d.bug {
		panic("a bug on purpose")
	}
	return d.Core.Instances(env)
}

// Status lets prod/auth fail after its first good answer.
func (d *demo) Status(ctx context.Context, env, instance string) (<-chan app.Status, error) {
	if d.Asked() == 1 {
		d.Fail("prod/auth", fault.New(fault.Denied, "describe instance prod/auth", errors.New("ExpiredToken: the security token included in the request is expired")).
			Hint("aws sso login --profile prod-readonly"))
	}
	return d.Core.Status(ctx, env, instance)
}

// OpenProxy opens a proxy that gets clients.
func (d *demo) OpenProxy(ctx context.Context, o app.ProxyOptions) (tui.Proxy, error) {
	p, err := d.Core.OpenProxy(ctx, o)
	if err != nil {
		return nil, err
	}
	all := d.Proxies()
	fp := all[len(all)-1]
	fp.DrainFor(d.drain)
	d.wg.Go(func() { clients(fp) })
	return p, nil
}

// clients come, work, and go until the proxy closes.
func clients(p *fake.Proxy) {
	uris := p.URIs()
	apps := []string{"psql", "DBeaver 24.1.2", "metabase", "pgAdmin 4", "orders-api"}
	var ids []uint64
	for n := 0; p.Closes() == 0; n++ {
		if n%8 == 0 && len(ids) < 7 {
			u := uris[rand.IntN(len(uris))]
			ids = append(ids, p.Connect(proxy.Connection{
				Client: fmt.Sprintf("127.0.0.1:%d", 50000+rand.IntN(9999)), Application: apps[rand.IntN(len(apps))],
				Database: u.Database, Instance: u.Instance, User: "oncall_ro", State: "starting",
			}))
		}
		if n%40 == 39 {
			p.Emit(proxy.Event{At: time.Now(), Kind: "refused", Failure: true, Text: `127.0.0.1:51324 asked for database "ordres": no such database; did you mean orders?`})
		}
		for _, id := range ids {
			if rand.IntN(3) == 0 {
				state := []string{"idle", "active", "in transaction"}[rand.IntN(3)]
				p.Traffic(id, int64(rand.IntN(4000)), int64(rand.IntN(400_000)), state)
			}
		}
		wait := time.NewTimer(250 * time.Millisecond)
		<-wait.C
	}
}
