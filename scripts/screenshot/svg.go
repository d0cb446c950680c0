package main

import (
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"math"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

// The look of a picture: cells in pixels, and the terminal's own colours.
const (
	cellW    = 8.43
	cellH    = 18.0
	fontSize = 14
	baseline = 13.5 // of the text in a cell
	margin   = 14.0

	background = "#121212"
	foreground = "#d7d7d7"
	fonts      = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
)

// basic are the sixteen colours of a terminal, for programs that use them by number.
var basic = [16]string{
	"#000000", "#cd3131", "#0dbc79", "#e5e510", "#2472c8", "#bc3fbc", "#11a8cd", "#e5e5e5",
	"#949494", "#f14c4c", "#23d18b", "#f5f543", "#5fafff", "#d670d6", "#29b8db", "#ffffff",
}

// look is what decides how a cell is drawn.
type look struct {
	fg, bg    string
	bold      bool
	italic    bool
	underline bool
	strike    bool
}

// lookOf works out the colours of a cell: reverse swaps them, faint mixes them.
func lookOf(c uv.Cell) look {
	l := look{fg: hex(c.Style.Fg, foreground), bg: hex(c.Style.Bg, background)}
	a := c.Style.Attrs
	if a&uv.AttrReverse != 0 {
		l.fg, l.bg = l.bg, l.fg
	}
	if a&uv.AttrFaint != 0 {
		l.fg = mix(l.fg, l.bg)
	}
	if a&uv.AttrConceal != 0 {
		l.fg = l.bg
	}
	l.bold, l.italic, l.strike = a&uv.AttrBold != 0, a&uv.AttrItalic != 0, a&uv.AttrStrikethrough != 0
	l.underline = c.Style.Underline != 0
	return l
}

func hex(c color.Color, none string) string {
	if c == nil {
		return none
	}
	if i, ok := basicIndex(c); ok {
		return basic[i]
	}
	r, g, b, a := c.RGBA()
	if a == 0 {
		return none
	}
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

// mix is half of each.
func mix(a, b string) string {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "#%02x%02x%02x", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "#%02x%02x%02x", &y[0], &y[1], &y[2])
	return fmt.Sprintf("#%02x%02x%02x", (x[0]+y[0])/2, (x[1]+y[1])/2, (x[2]+y[2])/2)
}

// stretch is neighbouring cells that look the same.
type stretch struct {
	x, w   int
	text   string
	look   look
	shapes bool // its glyphs are drawn as shapes, not as text
}

// stretches divides a row. Wide characters and shapes stand alone, so that nothing can move the cells after them.
func stretches(row []uv.Cell) []stretch {
	var out []stretch
	for x := 0; x < len(row); {
		c := row[x]
		w := max(1, c.Width)
		text := c.Content
		if text == "" {
			text = " "
		}
		r := stretch{x: x, w: w, text: text, look: lookOf(c)}
		r.shapes = isShape(text)
		if n := len(out) - 1; n >= 0 && w == 1 && out[n].look == r.look && r.shapes == out[n].shapes && !out[n].wide() {
			out[n].w++
			out[n].text += text
		} else {
			out = append(out, r)
		}
		x += w
	}
	return out
}

func (r stretch) wide() bool { return !r.shapes && len([]rune(r.text)) < r.w }

// writeSVG draws cells. The same cells give the same bytes.
func writeSVG(w io.Writer, cells [][]uv.Cell, title string) error {
	cols := 0
	for _, row := range cells {
		cols = max(cols, len(row))
	}
	width, height := float64(cols)*cellW+2*margin, float64(len(cells))*cellH+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">`+"\n",
		num(width), num(height), num(width), num(height), escape(title))
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(title))
	fmt.Fprintf(&b, `<rect width="%s" height="%s" rx="8" fill="%s"/>`+"\n", num(width), num(height), background)
	fmt.Fprintf(&b, `<g font-family="%s" font-size="%d">`+"\n", escape(fonts), fontSize)
	for y, row := range cells {
		for _, r := range stretches(row) {
			r.write(&b, y)
		}
	}
	b.WriteString("</g>\n</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// write draws the background of a run, then its text or shape.
func (r stretch) write(b *strings.Builder, y int) {
	left, top, width := margin+float64(r.x)*cellW, margin+float64(y)*cellH, float64(r.w)*cellW
	if r.look.bg != background {
		fmt.Fprintf(b, `<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>`+"\n", num(left), num(top), num(width), num(cellH), r.look.bg)
	}
	if r.shapes {
		for i, g := range []rune(r.text) {
			b.WriteString(shape(g, left+float64(i)*cellW, top, r.look.fg))
		}
		return
	}
	style := ""
	if r.look.bold {
		style += ` font-weight="bold"`
	}
	if r.look.italic {
		style += ` font-style="italic"`
	}
	switch {
	case r.look.underline && r.look.strike:
		style += ` text-decoration="underline line-through"`
	case r.look.underline:
		style += ` text-decoration="underline"`
	case r.look.strike:
		style += ` text-decoration="line-through"`
	}
	for _, wd := range words(r.text) {
		n := len([]rune(wd.text))
		if r.wide() {
			n = r.w
		}
		fmt.Fprintf(b, `<text x="%s" y="%s" textLength="%s" lengthAdjust="spacingAndGlyphs" xml:space="preserve" fill="%s"%s>%s</text>`+"\n",
			num(left+float64(wd.at)*cellW), num(top+baseline), num(float64(n)*cellW), r.look.fg, style, escape(wd.text))
	}
}

// word is a piece of a stretch, and the cell it begins at.
type word struct {
	at   int
	text string
}

// words divides text where two blanks or more stand, so that a font of another width moves nothing far from its cell.
func words(text string) []word {
	var out []word
	at, blanks := 0, 2
	for _, g := range text {
		switch {
		case g == ' ':
			blanks++
		case blanks > 1 || len(out) == 0:
			out = append(out, word{at: at, text: string(g)})
			blanks = 0
		default:
			out[len(out)-1].text += strings.Repeat(" ", blanks) + string(g)
			blanks = 0
		}
		at++
	}
	return out
}

// num is a number with at most two decimals.
func num(f float64) string {
	s := fmt.Sprintf("%.2f", math.Round(f*100)/100)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}
