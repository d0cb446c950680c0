package theme

// Glyphs are the characters outside letters, digits and punctuation. There are no emoji: terminals disagree on their width.
type Glyphs struct {
	Crumb    string // between two pages
	Rule     string // a horizontal line
	Tail     string // something was cut
	Up, Down string
	Spark    []string // heights of a one-row graph, lowest first

	TopLeft, TopRight, BottomLeft, BottomRight, Side string // of a box
}

func glyphs(ascii bool) Glyphs {
	if ascii {
		return Glyphs{
			Crumb: ">", Rule: "-", Tail: "~", Up: "up", Down: "dn",
			Spark:   []string{"_", ".", ":", "-", "=", "+", "*", "#"},
			TopLeft: "+", TopRight: "+", BottomLeft: "+", BottomRight: "+", Side: "|",
		}
	}
	return Glyphs{
		Crumb: "›", Rule: "─", Tail: "…", Up: "↑", Down: "↓",
		Spark:   []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
		TopLeft: "╭", TopRight: "╮", BottomLeft: "╰", BottomRight: "╯", Side: "│",
	}
}
