package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/exp/golden"
)

// cells draws styled text into cells.
func cells(cols, rows int, styled string) [][]uv.Cell {
	scr := uv.NewScreenBuffer(cols, rows)
	uv.NewStyledString(styled).Draw(scr, scr.Bounds())
	out := make([][]uv.Cell, rows)
	for y := range out {
		out[y] = make([]uv.Cell, cols)
		for x := range out[y] {
			if c := scr.CellAt(x, y); c != nil {
				out[y][x] = *c
			}
		}
	}
	return out
}

const sample = "\x1b[1;38;2;255;255;255;48;2;175;0;0m PROTECTED  prod \x1b[m  a<b & \"c\"\n" +
	"\x1b[7m> reverse\x1b[m \x1b[2mfaint\x1b[m \x1b[3;4mboth\x1b[m \x1b[9mgone\x1b[m \x1b[8mhid\x1b[m\n" +
	"\x1b[38;5;9mnine\x1b[m \x1b[31mone\x1b[m \x1b[38;5;208morange\x1b[m 日本 wide\n" +
	"\x1b[38;2;95;175;215m▁▄█\x1b[m ╭─╮│╰╯ ━"

func TestTheSameCellsGiveTheSamePicture(t *testing.T) {
	var a, b bytes.Buffer
	if err := errors.Join(writeSVG(&a, cells(34, 5, sample), "a <title>"), writeSVG(&b, cells(34, 5, sample), "a <title>")); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() {
		t.Error("two pictures of the same cells differ")
	}
	golden.RequireEqual(t, a.String())
	for d := xml.NewDecoder(&a); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("it is no XML: %v", err)
		}
	}
}

func TestLooks(t *testing.T) {
	red, blue := color.RGBA{0xff, 0, 0, 0xff}, color.RGBA{0, 0, 0xff, 0xff}
	for name, c := range map[string]struct {
		style  uv.Style
		fg, bg string
	}{
		"nothing said":    {uv.Style{}, foreground, background},
		"colours":         {uv.Style{Fg: red, Bg: blue}, "#ff0000", "#0000ff"},
		"reverse":         {uv.Style{Fg: red, Bg: blue, Attrs: uv.AttrReverse}, "#0000ff", "#ff0000"},
		"reverse of none": {uv.Style{Attrs: uv.AttrReverse}, background, foreground},
		"faint":           {uv.Style{Fg: red, Bg: blue, Attrs: uv.AttrFaint}, "#7f007f", "#0000ff"},
		"concealed":       {uv.Style{Fg: red, Attrs: uv.AttrConceal}, background, background},
		"by number":       {uv.Style{Fg: ansi.BasicColor(12), Bg: ansi.IndexedColor(1)}, basic[12], basic[1]},
		"beyond sixteen":  {uv.Style{Fg: ansi.IndexedColor(208)}, "#ff8700", background},
	} {
		if l := lookOf(uv.Cell{Style: c.style}); l.fg != c.fg || l.bg != c.bg {
			t.Errorf("%s: %s on %s, want %s on %s", name, l.fg, l.bg, c.fg, c.bg)
		}
	}
}

func TestTextIsAnchoredAtItsCells(t *testing.T) {
	got := words("  one two   three    ")
	want := []word{{2, "one two"}, {12, "three"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v", got)
	}
	row := cells(12, 1, "日x ▁▂")[0]
	var at []int
	for _, s := range stretches(row) {
		at = append(at, s.x)
	}
	if len(at) != 4 || at[1] != 2 || at[2] != 4 || at[3] != 6 {
		t.Errorf("stretches begin at %v", at)
	}
}

func TestNumbersAreShort(t *testing.T) {
	for f, want := range map[float64]string{1: "1", 1.5: "1.5", 8.43 * 3: "25.29", 0: "0", 100: "100", 2.004: "2"} {
		if got := num(f); got != want {
			t.Errorf("%v: %s", f, got)
		}
	}
}

func TestArguments(t *testing.T) {
	o, err := parse([]string{"-cols", "80", "-wait", "a", "-keys", "j enter", "-wait", "b c", "-o", "x.svg", "--", "prog", "-flag"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.cols != 80 || len(o.steps) != 3 || o.steps[1].keys[1] != "enter" || o.steps[2].wait != "b c" || o.command[1] != "-flag" || o.title != "prog -flag" {
		t.Errorf("%+v", o)
	}
	for name, args := range map[string][]string{
		"no command": {"-o", "x"}, "no file": {"--", "prog"}, "an unknown key": {"-keys", "hyper+x", "-o", "x", "--", "p"}, "an unknown flag": {"-nope"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

func TestAPictureOfAProgram(t *testing.T) {
	out := filepath.Join(t.TempDir(), "deep", "er", "picture.svg")
	err := run(t.Context(), []string{
		"-cols", "30", "-rows", "4", "-still", "20ms", "-env", "WHO=max", "-wait", "ready", "-keys", "y e s enter", "-wait", "got yes", "-o", out,
		"--", "/bin/sh", "-c", `echo "ready $WHO"; read x; echo "got $x"; read x`,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ready max", "got yes"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
	err = run(t.Context(), []string{"-limit", "50ms", "-wait", "never", "-o", out, "--", "/bin/sh", "-c", "read x"}, io.Discard)
	if err == nil {
		t.Error("waiting in vain is no error")
	}
}
