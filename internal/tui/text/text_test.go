package text

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

func TestClean(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain text stays":                       {"orders-main 16.4", "orders-main 16.4"},
		"letters of other scripts stay":          {"zażółć 日本 ж", "zażółć 日本 ж"},
		"an escape cannot start a sequence":      {"a\x1b[2Jb", "a?[2Jb"},
		"an 8-bit control cannot either":         {"a\u009b2J", "a?2J"},
		"a new line becomes a space":             {"a\r\nb\tc", "a  b c"},
		"other line ends become a space":         {"a\u2028b\u2029c", "a b c"},
		"text that reorders cannot":              {"a\u202eb\u2066c\u200f", "a?b?c?"},
		"invisible characters go":                {"a\u200bb\ufeffc\u00add", "abcd"},
		"a variation selector goes":              {"⚠\ufe0f", "⚠"},
		"emoji become a question mark":           {"ok🔥", "ok?"},
		"bytes that are no text":                 {"a\xffb", "a?b"},
		"a replacement character that was there": {"a\ufffdb", "a\ufffdb"},
		"delete":                                 {"a\x7fb", "a?b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Clean(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b]52;c;aGk=\x07\u202e🔥\xff\n")
	f.Fuzz(func(t *testing.T, in string) {
		out := Clean(in)
		for _, r := range out {
			if unicode.IsControl(r) || r == '\u2028' || r >= 0x202A && r <= 0x202E || r >= 0x1F000 && r <= 0x1FAFF {
				t.Fatalf("%U survived in %q", r, out)
			}
		}
		if again := Clean(out); again != out {
			t.Fatalf("cleaning twice differs: %q, %q", out, again)
		}
	})
}

func TestEverythingThatIsPlacedHasItsWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Clean(rapid.StringOfN(rapid.RuneFrom([]rune("ab 日éж\x1b\n")), 0, 40, -1).Draw(t, "text"))
		other := Clean(rapid.StringOfN(rapid.RuneFrom([]rune("xy語")), 0, 12, -1).Draw(t, "right"))
		w := rapid.IntRange(1, 50).Draw(t, "width")
		for name, got := range map[string]string{
			"Left": Left(s, w, "…"), "Right": Right(s, w, "…"), "Spread": Spread(s, other, w, "…"),
			"Box": Box([]string{s}, w, 1, "…"),
		} {
			if Width(got) != w {
				t.Fatalf("%s(%q, %d) has %d cells: %q", name, s, w, Width(got), got)
			}
		}
		if got := Cut(s, w, "…"); Width(got) > w {
			t.Fatalf("Cut(%q, %d) has %d cells", s, w, Width(got))
		}
		for _, l := range Wrap(s, w+8) { // nothing is wrapped into less
			if Width(l) > w+8 {
				t.Fatalf("Wrap(%q, %d) has a line of %d cells", s, w+8, Width(l))
			}
		}
	})
}

func TestSpreadKeepsTheRightSide(t *testing.T) {
	for _, c := range []struct {
		left, right string
		w           int
		want        string
	}{
		{"left", "right", 14, "left     right"},
		{"a long left side", "right", 14, "a long … right"},
		{"left", "", 6, "left  "},
		{"something", "a right side too wide", 20, "something           "},
	} {
		if got := Spread(c.left, c.right, c.w, "…"); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 900 * time.Millisecond: "0s", 8 * time.Second: "8s", 59 * time.Second: "59s",
		61 * time.Second: "1m", 92 * time.Minute: "1h32", 61 * time.Minute: "1h01", 49 * time.Hour: "2d",
	} {
		if got := Age(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

func TestDays(t *testing.T) {
	now := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]int{
		0: 0, 23 * time.Hour: 0, 24 * time.Hour: 1, 49 * time.Hour: 2, -time.Hour: -1, -24 * time.Hour: -1, -25 * time.Hour: -2,
	} {
		if got := Days(now.Add(d), now); got != want {
			t.Errorf("%s: got %d, want %d", d, got, want)
		}
	}
}

func TestMaskURI(t *testing.T) {
	for in, want := range map[string]string{
		"postgresql://dbops:s3cret@127.0.0.1:6432/orders":        "postgresql://dbops:****@127.0.0.1:6432/orders",
		"postgresql://dbops@127.0.0.1:6432/orders":               "postgresql://dbops@127.0.0.1:6432/orders",
		"postgresql://h/db?password=s3cret&sslmode=require":      "postgresql://h/db?password=****&sslmode=require",
		"postgresql://h/db?sslpassword=s3cret":                   "postgresql://h/db?sslpassword=****",
		"host=127.0.0.1 password=s3cret":                         "****",
		"postgresql://dbops:s3cret%zz@h/db":                      "****",
		"mailto:s3cret":                                          "****",
		"postgresql://dbops:xxxxx@127.0.0.1:6432/orders?a=xxxxx": "postgresql://dbops:****@127.0.0.1:6432/orders?a=xxxxx",
	} {
		if got := MaskURI(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func FuzzMaskURI(f *testing.F) {
	f.Add("dbops", "h", "db")
	f.Fuzz(func(t *testing.T, user, host, db string) {
		const secret = "s3cr3tzq"
		for _, uri := range []string{
			"postgresql://" + user + ":" + secret + "@" + host + "/" + db,
			"postgresql://" + host + "/" + db + "?user=" + user + "&password=" + secret,
		} {
			if strings.Contains(user+host+db, secret) {
				return
			}
			// What the host swallows is no password any more for anybody who reads the URI, so only real ones count.
			if got := MaskURI(uri); strings.Contains(got, secret) && !strings.ContainsAny(user+host+db, "/?#@&;%") {
				t.Fatalf("%q shows the password: %q", uri, got)
			}
		}
	})
}

func TestShell(t *testing.T) {
	got := Shell([]string{"dbops", "status", "-e", "prod main", "it's", "", "a=b,c:d"})
	if want := `dbops status -e 'prod main' 'it'\''s' '' a=b,c:d`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCount(t *testing.T) {
	if got := Count(1, "client") + ", " + Count(0, "client") + ", " + Count(3, "client"); got != "1 client, 0 clients, 3 clients" {
		t.Error(got)
	}
}
