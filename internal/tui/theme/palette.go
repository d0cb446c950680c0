package theme

// Palette is a choice of colours, each for a dark and a light background.
type Palette uint8

// The palettes.
const (
	Standard     Palette = iota
	HighContrast         // seven to one and more
	ColourBlind          // what means something differs in blue, yellow and lightness, which every eye can see
)

// shade is one colour in each world: hex for 256 colours and more (all are in the 256-colour cube), an index for 16.
type shade struct{ dark, light, dark16, light16 string }

// pair is text on a ground of its own.
type pair struct{ text, ground shade }

type shades struct {
	roles [roles]shade
	bands [bands]pair
}

var (
	white = shade{"#ffffff", "#ffffff", "15", "15"}
	black = shade{"#000000", "#000000", "0", "0"}
	quiet = pair{shade{"#d7d7d7", "#1c1c1c", "15", "0"}, shade{"#303030", "#d0d0d0", "0", "7"}}
)

// shades are the colours of a palette by role and band.
func (p Palette) shades() shades {
	switch p {
	case HighContrast:
		text, muted := shade{"#ffffff", "#000000", "15", "0"}, shade{"#d0d0d0", "#303030", "7", "8"}
		return shades{
			[roles]shade{
				Text: text, Muted: muted, Heading: muted, Strong: text,
				Focus: {"#87d7ff", "#0000af", "12", "4"}, OK: {"#87ffff", "#005f5f", "14", "6"}, Warn: {"#ffff00", "#87005f", "11", "3"},
				Danger: {"#ffafaf", "#870000", "9", "1"}, Pending: {"#d7afff", "#5f00af", "13", "5"},
			},
			[bands]pair{
				BandNone:      {shade{"#ffffff", "#000000", "15", "0"}, shade{"#000000", "#ffffff", "0", "15"}},
				BandOpen:      {white, shade{"#444444", "#444444", "8", "8"}},
				BandProtected: {white, shade{"#870000", "#870000", "1", "1"}},
				BandMode:      {black, shade{"#ffff00", "#ffff00", "11", "11"}},
			},
		}
	case ColourBlind:
		return shades{
			[roles]shade{
				Text: {"#d7d7d7", "#1c1c1c", "", ""}, Muted: {"#949494", "#5f5f5f", "8", "8"}, Heading: {"#949494", "#5f5f5f", "8", "8"}, Strong: {"#d7d7d7", "#1c1c1c", "", ""},
				Focus: {"#87d7ff", "#005f87", "14", "6"}, OK: {"#5f87ff", "#0000d7", "12", "4"}, Warn: {"#ffff5f", "#875f00", "11", "3"},
				Danger: {"#ff8700", "#af005f", "9", "1"}, Pending: {"#d7afff", "#5f5fd7", "13", "5"},
			},
			[bands]pair{
				BandNone: quiet, BandOpen: {white, shade{"#4e4e4e", "#4e4e4e", "8", "8"}},
				BandProtected: {white, shade{"#0000af", "#0000af", "4", "4"}}, BandMode: {black, shade{"#ffff5f", "#ffff5f", "11", "11"}},
			},
		}
	default:
		return shades{
			[roles]shade{
				Text: {"#d7d7d7", "#1c1c1c", "", ""}, Muted: {"#949494", "#5f5f5f", "8", "8"}, Heading: {"#949494", "#5f5f5f", "8", "8"}, Strong: {"#d7d7d7", "#1c1c1c", "", ""},
				Focus: {"#5fafff", "#005faf", "12", "4"}, OK: {"#5fafd7", "#00607a", "14", "6"}, Warn: {"#ffaf00", "#875f00", "11", "3"},
				Danger: {"#ff5f5f", "#af0000", "9", "1"}, Pending: {"#af87ff", "#5f00af", "13", "5"},
			},
			[bands]pair{
				BandNone: quiet, BandOpen: {white, shade{"#4e4e4e", "#4e4e4e", "8", "8"}},
				BandProtected: {white, shade{"#af0000", "#af0000", "1", "1"}}, BandMode: {black, shade{"#ffaf00", "#ffaf00", "11", "11"}},
			},
		}
	}
}
