package main

import (
	"fmt"
	"image/color"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// bars are the glyphs of a one-row graph, lowest first.
const bars = "▁▂▃▄▅▆▇█"

// lines are the box-drawing glyphs as paths: l, r, t, b are the edges of the cell, x and y its centre.
var lines = map[rune]string{
	'─': "M{l} {y}H{r}", '━': "M{l} {y}H{r}", '│': "M{x} {t}V{b}",
	'╭': "M{x} {b}Q{x} {y} {r} {y}", '╮': "M{l} {y}Q{x} {y} {x} {b}", '╰': "M{x} {t}Q{x} {y} {r} {y}", '╯': "M{l} {y}Q{x} {y} {x} {t}",
	'┌': "M{x} {b}V{y}H{r}", '┐': "M{l} {y}H{x}V{b}", '└': "M{x} {t}V{y}H{r}", '┘': "M{l} {y}H{x}V{t}",
}

// isShape tells whether a glyph is drawn by its geometry, so that neighbours join whatever the font is.
func isShape(s string) bool {
	r := []rune(s)
	if len(r) != 1 {
		return false
	}
	_, line := lines[r[0]]
	return line || strings.ContainsRune(bars, r[0])
}

// shape draws a glyph into the cell at x and y.
func shape(g rune, x, y float64, fill string) string {
	for i, bar := range []rune(bars) {
		if bar == g {
			h := cellH * float64(i+1) / 8
			return fmt.Sprintf(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>`+"\n", num(x), num(y+cellH-h), num(cellW), num(h), fill)
		}
	}
	width := 1.0
	if g == '━' {
		width = 3
	}
	d := strings.NewReplacer(
		"{l}", num(x), "{r}", num(x+cellW), "{t}", num(y), "{b}", num(y+cellH), "{x}", num(x+cellW/2), "{y}", num(y+cellH/2),
	).Replace(lines[g])
	return fmt.Sprintf(`<path d="%s" fill="none" stroke="%s" stroke-width="%s"/>`+"\n", d, fill, num(width))
}

// basicIndex is the number of a colour that a program chose among the sixteen.
func basicIndex(c color.Color) (int, bool) {
	switch c := c.(type) {
	case ansi.BasicColor:
		return int(c) % 16, true
	case ansi.IndexedColor:
		if c < 16 {
			return int(c), true
		}
	}
	return 0, false
}
