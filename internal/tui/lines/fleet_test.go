package lines_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/proxy"
	"dbops/internal/tui"
	"dbops/internal/tui/internal/fake"
)

func TestTheFleetIsReadOutWorstFirst(t *testing.T) {
	talk(t, nil, func(p *person) {
		said := p.hear()
		p.want(said, "? for help", "Fleet.", "3 environments, 11 instances", "Needs attention:", "problem: prod/archive, certificate expires in 4 days",
			"aws sso login --profile prod-readonly", "PROTECTED prod", "\n1. archive, state available, engine rds 13.15", "state problem: denied", "state under way: modifying",
			"environment dev", "the same by: dbops status\n> ")
		if strings.Contains(said, "\x1b") {
			t.Error("an escape sequence was written")
		}
	})
}

func TestWhatComesAfterTheFirstReadingIsToldOnce(t *testing.T) {
	talk(t, func(c *fake.Core) { c.FailWatched(8*time.Second, nil) }, func(p *person) {
		said := p.hear()
		p.want(said, "3 environments, 11 instances", "still being read: credentials and drift\n", "Needs attention:", "> ")
		p.wantNot(said, "drifted", "older than")
		said = p.pass(9 * time.Second)
		p.want(said, "credentials: read, and needs attention:", "warning: prod/orders-main, ", "older than 90 days", "next: dbops creds rotate -e prod")
		p.want(said, "drift: read, and needs attention:", "drifted: ", "next: its tab Drift (0) shows why")
		p.wantNot(said, "certificate")
		p.wantNot(p.pass(time.Minute), "attention")
		said = p.say("r")
		p.want(said, "older than 90 days")
		p.wantNot(said, "still being read", "read, and needs")
		p.wantNot(p.pass(20*time.Minute), "needs attention")
	})
	talk(t, func(c *fake.Core) {
		c.FailWatched(time.Second, fault.New(fault.Denied, "look", errors.New("no access to the secrets")))
	}, func(p *person) {
		p.want(p.pass(2*time.Second), "Failed: not read: ", "no access to the secrets")
		p.wantNot(p.say("r")+p.pass(5*time.Second), "Failed: not read")
	})
}

func TestAReadingThatIsGivenUpIsNotSaidToGoOn(t *testing.T) {
	talk(t, func(c *fake.Core) { c.FailWatched(time.Hour, nil); c.Delay("prod/ledger", 5*time.Second) }, func(p *person) {
		p.pass(4 * time.Second)
		p.interrupt <- nil
		p.want(p.hear(), "reading cancelled", "not read: credentials and drift; r reads all anew")
	})
}

func TestNoWordIsBrokenAtTheEdgeOfATerminal(t *testing.T) {
	const narrow = 30
	said := map[int]string{}
	for _, w := range []int{0, narrow} {
		talkAt(t, func() int { return w }, nil, func(p *person) {
			said[w] = p.hear()
			p.want(p.plan()+p.say("y"), "the same by: dbops drift -e prod orders-main --fix\n", "\ndbops drift -e prod orders-main --fix\n") // to be copied
		})
	}
	for _, sentence := range []string{ // no word is lost: of what does not depend on what was read first
		"Say a number or a name to go on, a for what can be done, ? for help, q to quit.", "prod/archive, certificate expires in 4 days (2026-11-25)",
		"next: 10.3.4.7 is a private address: connect the VPN, or set a bastion in dbops.yaml",
	} {
		if !strings.Contains(said[0], sentence+"\n") || !strings.Contains(strings.Join(strings.Fields(said[narrow]), " "), sentence) {
			t.Errorf("%q is not said in both:\n%s\n%s", sentence, said[narrow], said[0])
		}
	}
	for l := range strings.SplitSeq(said[narrow], "\n") {
		if len(l) > narrow && strings.Contains(l, " ") && !strings.HasPrefix(l, "the same by: ") {
			t.Errorf("%d cells: %s", len(l), l)
		}
	}
}

func TestAnInstanceIsChosenByNumberOrName(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.say("6"), "PROTECTED environment prod. orders-main. Overview. rds 16.4", "Live:", "connections, ", "engine: PostgreSQL 16.4", "more: enter reads on")
		p.want(p.say(""), "found at: eu-west-1/orders-prod", ">")
	})
}

func TestNamesThatMeanSeveralAreAskedAbout(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.say("orders-main"), `"orders-main" may be 6, orders-main; 10, orders-main: say the number.`)
		p.want(p.say("staging/orders-main"), "Environment staging. orders-main.")
		p.say("b")
		p.want(p.say("archi"), "PROTECTED environment prod. archive.")
		p.want(p.say("b", "99"), "say a number from 1 to 11.")
		p.want(p.say("xyzzy"), `"xyzzy" means nothing here: say a number from 1 to 11, a name, a for what can be done, g for where to go, ? for help.`)
		p.want(p.say("b"), "back: this is the first page.")
	})
}

func TestTheFleetIsFilteredSortedAndReadAgain(t *testing.T) {
	talk(t, nil, func(p *person) {
		said := p.say("/billing !staging")
		p.want(said, "1 of 11 instances", "1. billing")
		p.wantNot(said, "2. ", "archive, state")
		p.want(p.say("/"), "11. search")
		p.want(p.say("sort"), "sorted by state", "1. auth, state problem: denied")
		asked := p.core.Asked()
		p.want(p.say("r"), "the same by: dbops status", "Fleet.")
		if p.core.Asked() != asked+1 {
			t.Errorf("asked %d times", p.core.Asked()-asked)
		}
	})
}

func TestHelpSaysWhatCanBeSaid(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.say("?"), "a number from 1 to 11", "b or back", "q or quit", "write the address of prod/archive", "ctrl+c")
		p.want(p.say("1", "a"), "What can be done here, in environment prod, PROTECTED.", "1. overview, or the provider's JSON", "b to leave it")
		p.want(p.say("12"), "nothing here is called 12.", "b to leave it")
		p.want(p.say("1"), `"DBInstanceIdentifier"`)
	})
}

// An instance that does not answer is said to be so, and nothing waits for it for long.
func TestADeadControlPlaneHoldsNobodyUp(t *testing.T) {
	talk(t, func(c *fake.Core) { c.Delay("prod/ledger", time.Hour) }, func(p *person) {
		p.wantNot(p.hear(), "Fleet.", ">")
		p.want(p.pass(11*time.Second), "It is still being read after 10s.", "Fleet.", "1. archive, state available", "> ")
		p.want(p.say("6"), "orders-main. Overview.")
		p.say("b")
		p.want(p.pass(46*time.Second), "problem: prod/ledger", "no answer within 45s")
	})
}

func TestAPlanThatTakesLongIsAnnounced(t *testing.T) {
	talk(t, func(c *fake.Core) {
		c.FailPlans(30*time.Second, fault.New(fault.Unavailable, "plan it", errors.New("the API is down")).Hint("try it later"))
	}, func(p *person) {
		p.say("6", "drift", "f")
		p.want(p.pass(11*time.Second), "still being read after 10s", "working out what this does; nothing is changed")
		p.want(p.pass(20*time.Second), "Failed: there is no plan: the API is down. Next: try it later.", "the API is down")
		p.want(p.say("R"), "there is no plan")
	})
}

func TestCtrlCCancelsAQuestionThenQuits(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.say("6", "credentials", "t")
		p.interrupt <- nil
		p.want(p.hear(), "cancelled.")
		if len(p.core.Planned()) != 0 {
			t.Error("a plan was made")
		}
		p.interrupt <- nil
		p.over(5 * time.Second)
		if p.err != nil {
			t.Error(p.err)
		}
	})
}

func TestCtrlCCancelsAReading(t *testing.T) {
	talk(t, func(c *fake.Core) { c.Delay("prod/ledger", time.Hour) }, func(p *person) {
		p.interrupt <- nil
		p.want(p.hear(), "reading cancelled", "Fleet.", "> ")
	})
}

func TestTheEndOfInputClosesProxiesAndQuits(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.say("6", "proxy", "t")
		_ = p.in.Close()
		p.over(30 * time.Second)
		if p.err != nil || p.core.Proxies()[0].Closes() == 0 {
			t.Errorf("%v, closed %d times", p.err, p.core.Proxies()[0].Closes())
		}
		p.want(p.hear(), "closing 1 proxy")
	})
}

func TestQuittingAsksBeforeItCutsSomebodyOff(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.say("6", "proxy", "t")
		p.want(p.say("q"), "Quit dbops.", "yes: close and quit; no: stay")
		p.want(p.say("maybe"), "answer yes or no.")
		p.say("no")
		p.say("q", "yes")
		p.over(30 * time.Second)
	})
}

func TestAProxyIsStartedUsedAndStopped(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.say("6", "proxy"), "proxy, not started", "1. archive", "the same by: dbops proxy -e prod")
		p.want(p.say("c"), "1. read", "2. write", "3. admin")
		p.want(p.say("write"), "access write")
		p.want(p.say("t"), "Open prod for write, in environment prod, PROTECTED.", "Why is it opened for write?")
		p.want(p.say("ticket 42"), "Every client of this proxy will be able to change its data", "the same by: dbops proxy -e prod --access write --reason 'ticket 42'", "yes: open it")
		p.want(p.say("yes"), "proxy of prod listens on 127.0.0.1:6432, access write")
		said := p.say("orders", "y")
		p.want(said, "Write the URI of orders (with its password)", "A secret will stand in this terminal")
		p.wantNot(said, fake.Password)
		p.wantNot(p.say("no"), fake.Password)
		p.want(p.say("y", "yes"), "the URI of orders", fake.Password)
		px := p.core.Proxies()[0]
		id := px.Connect(proxy.Connection{Client: "127.0.0.1:51001", Application: "psql", Database: "orders", User: "oncall", State: "idle"})
		px.Connect(proxy.Connection{Client: "127.0.0.1:51002", Application: "metabase", Database: "orders", User: "oncall", State: "idle"})
		p.pass(2 * time.Second)
		p.want(p.say("connections"), "Connections:", "1. psql", "2. metabase")
		p.want(p.say("psql"), "chosen: psql")
		p.want(p.say("x"), "Cut connection", "yes: cut it")
		p.say("yes")
		p.pass(2 * time.Second)
		for _, c := range px.Connections() {
			if c.ID == id {
				t.Error("the connection was not cut")
			}
		}
		p.want(p.say("stop")+p.say("yes")+p.pass(10*time.Second), "Stop the proxy of prod", "yes: stop it", "proxy of prod")
		if px.Closes() == 0 {
			t.Error("the proxy was not closed")
		}
	})
}

// Every command of the CLI that the palette leads to is reached by its words.
func TestEveryCommandIsReached(t *testing.T) {
	for _, words := range tui.Commands() {
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			talk(t, nil, func(p *person) {
				p.say("6", "b", "6")
				said := p.say(":" + strings.Join(words, " "))
				if strings.Contains(said, "say a number, or words to look for") { // its words begin those of others
					said = p.say("1")
				}
				p.want(said, "the same by: dbops "+strings.Join(words, " "))
			})
		})
	}
}
