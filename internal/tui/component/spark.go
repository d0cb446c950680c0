package component

import "dbops/internal/tui/theme"

// Spark draws the last w samples as a row of bars, the newest at the right, the tallest as high as the largest of them. Samples
// that are missing are drawn as the lowest bar, so that the width stays w.
func Spark(th theme.Theme, samples []int64, w int) string {
	if w <= 0 || th.Aloud() {
		return ""
	}
	if len(samples) > w {
		samples = samples[len(samples)-w:]
	}
	var top int64 = 1
	for _, v := range samples {
		top = max(top, v)
	}
	bars := th.Glyphs.Spark
	out := ""
	for range w - len(samples) {
		out += bars[0]
	}
	for _, v := range samples {
		i := 0
		if v > 0 { // the smallest traffic must differ from none
			i = 1 + int(float64(v)/float64(top)*float64(len(bars)-2))
		}
		out += bars[min(i, len(bars)-1)]
	}
	return out
}
