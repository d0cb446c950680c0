package proxy

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestFramesFindTheSameMessagesInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var kinds []byte
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			kind := rapid.Byte().Draw(t, "kind")
			kinds = append(kinds, kind)
			stream = append(stream, message(kind, string(make([]byte, rapid.IntRange(0, 40).Draw(t, "body"))))...)
		}
		var f frames
		var seen []byte
		rest := stream
		for len(rest) > 0 {
			piece := rest[:rapid.IntRange(1, len(rest)).Draw(t, "piece")]
			rest = rest[len(piece):]
			for len(piece) > 0 {
				n, ended := f.next(piece)
				if n == 0 {
					t.Fatal("no progress")
				}
				piece = piece[n:]
				if ended {
					seen = append(seen, f.head[0])
					if !f.boundary() {
						t.Fatal("the end of a message is no boundary")
					}
				} else if f.boundary() {
					t.Fatal("a boundary inside a message")
				}
			}
		}
		if !slices.Equal(seen, kinds) {
			t.Fatalf("found %q, want %q", seen, kinds)
		}
	})
}

func TestFramesGiveUpOnWhatIsNoMessage(t *testing.T) {
	for _, b := range [][]byte{{'Z', 0, 0, 0, 3}, {'Z', 0, 0, 0, 0}, {'Z', 0xff, 0xff, 0xff, 0xff}, {'Z', 0x80, 0, 0, 0}} {
		var f frames
		if n, ended := f.next(append(b, 1, 2, 3)); n != 8 || ended || f.boundary() {
			t.Errorf("%v: %d %t", b, n, ended)
		}
		if n, ended := f.next([]byte{1, 2}); n != 2 || ended || f.boundary() {
			t.Errorf("%v: took up again", b)
		}
	}
}

func TestTalkCountsWhatTheServerOwes(t *testing.T) {
	for name, steps := range map[string][]struct {
		client, server string // message types
		working        bool
	}{
		"a simple query":                      {{"Q", "", true}, {"", "TDC", true}, {"", "Z", false}},
		"two queries ahead":                   {{"QQ", "", true}, {"", "CZ", true}, {"", "CZ", false}},
		"an extended query":                   {{"PBDE", "", true}, {"", "12", true}, {"S", "", true}, {"", "DCZ", false}},
		"flush alone":                         {{"H", "", false}},
		"a pipeline with an error":            {{"PBESPBES", "", true}, {"", "E", true}, {"", "Z", true}, {"", "12CZ", false}},
		"copy in":                             {{"Q", "", true}, {"", "G", true}, {"dd", "", true}, {"c", "", true}, {"", "CZ", false}},
		"copy in that fails early":            {{"Q", "", true}, {"", "G", true}, {"d", "", true}, {"", "EZ", false}, {"dc", "", false}},
		"copy in, extended, Sync ahead":       {{"PBES", "", true}, {"", "12G", true}, {"d", "", true}, {"cS", "", true}, {"", "CZ", false}},
		"copy in, extended, Sync in between":  {{"PBEH", "", true}, {"", "12G", true}, {"S", "", true}, {"dcS", "", true}, {"", "CZ", false}},
		"copy in, extended, fails":            {{"PBES", "", true}, {"", "12G", true}, {"d", "E", false}, {"cS", "", true}, {"", "Z", false}},
		"copy out":                            {{"Q", "", true}, {"", "Hddd", true}, {"", "cCZ", false}},
		"a function call":                     {{"F", "", true}, {"", "V", true}, {"", "Z", false}},
		"notices and notifications mean idle": {{"", "NAS", false}},
		"a stray ReadyForQuery":               {{"", "Z", false}, {"Q", "", true}, {"", "Z", false}},
	} {
		t.Run(name, func(t *testing.T) {
			talk := talk{tx: 'I'}
			for i, step := range steps {
				for _, k := range []byte(step.client) {
					talk.fromClient(message(k, "x"))
				}
				for _, k := range []byte(step.server) {
					talk.fromServer(message(k, "I"), false)
				}
				if talk.working() != step.working || talk.between() == step.working {
					t.Errorf("step %d: working is %t (%+v)", i, talk.working(), talk)
				}
			}
		})
	}
}

// Rows are passed over at once where they can be: what is known after them must be the same as byte by byte.
func TestTalkKnowsTheSameInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(kinds string) (stream []byte) {
			for range rapid.IntRange(1, 30).Draw(t, "messages") {
				kind := rapid.SampledFrom([]byte(kinds)).Draw(t, "kind")
				stream = append(stream, message(kind, string(bytes.Repeat([]byte("I"), rapid.IntRange(0, 40).Draw(t, "body"))))...)
			}
			if rapid.Bool().Draw(t, "broken") {
				stream = append(stream, rapid.SampledFrom([]byte("dD")).Draw(t, "broken kind"), 0, 0, 0, byte(rapid.IntRange(0, 3).Draw(t, "length")))
			}
			return stream
		}
		var want, got talk
		for _, side := range []struct {
			stream []byte
			follow func(*talk, []byte)
		}{
			{draw("dddddQSPcfF"), (*talk).fromClient},
			{draw("DDDDdddEZGNC"), func(t *talk, p []byte) {
				if n, _ := t.fromServer(p, false); n != len(p) {
					panic("it stopped")
				}
			}},
		} {
			for i := range side.stream {
				side.follow(&want, side.stream[i:i+1])
			}
			for rest := side.stream; len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
				side.follow(&got, rest[:n])
				rest = rest[n:]
			}
		}
		want.client.head, want.server.head = got.client.head, got.server.head // of no meaning between messages
		if want != got {
			t.Fatalf("in pieces %+v, byte by byte %+v", got, want)
		}
	})
}

func TestTalkStopsAfterOneMessageWhenAsked(t *testing.T) {
	var talk talk
	first := message('D', "abc")
	if n, ended := talk.fromServer(first[:4], true); n != 4 || ended {
		t.Errorf("%d %t", n, ended)
	}
	if n, ended := talk.fromServer(append(first[4:], message('D', "next")...), true); n != len(first)-4 || !ended {
		t.Errorf("%d %t", n, ended)
	}
}
