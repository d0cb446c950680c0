package theme

// Glyphs are the characters outside letters, digits and punctuation. There are no emoji: terminals disagree on their width.
type Glyphs struct {
	Crumb    string // between two pages
	Rule     string // a horizontal line
	Tail     string // something was cut
	Up, Down string
	Done     string   // a step is
	Spark    []string // heights of a one-row graph, lowest first
	Bar      string   // what of a bar is done
	Track    string   // what of it is to come

	TopLeft, TopRight, BottomLeft, BottomRight, Side string // of a box
}

func glyphs(ascii bool) Glyphs {
	if ascii {
		return Glyphs{
			Crumb: ">", Rule: "-", Tail: "~", Up: "up", Down: "dn", Done: "+", Bar: "=", Track: "-",
			Spark:   []string{"_", ".", ":", "-", "=", "+", "*", "#"},
			TopLeft: "+", TopRight: "+", BottomLeft: "+", BottomRight: "+", Side: "|",
		}
	}
	return Glyphs{
		Crumb: "›", Rule: "─", Tail: "…", Up: "↑", Down: "↓", Done: "✓", Bar: "━", Track: "─",
		Spark:   []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
		TopLeft: "╭", TopRight: "╮", BottomLeft: "╰", BottomRight: "╯", Side: "│",
	}
}

// spoken are those of what is read out: words, or nothing.
func spoken() Glyphs {
	return Glyphs{Crumb: ",", Up: "above", Down: "below", Done: "done", Spark: []string{"", "", ""}}
}
