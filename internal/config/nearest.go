package config

import (
	"strings"
	"unicode/utf8"
)

// Nearest returns the candidate that word was most likely meant to be, "" if none is near: one that differs in case only, one
// within an edit distance of a third of word's length, or the only one that word begins.
func Nearest(word string, candidates []string) string {
	if word == "" || len(word) > 64 {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", max(1, utf8.RuneCountInString(word)/3)+1
	var begun []string
	for _, c := range candidates {
		if len(c) > 64 {
			continue
		}
		low := strings.ToLower(c)
		if d := distance(lower, low); d < bestDistance {
			best, bestDistance = c, d
		}
		if len(word) >= 2 && strings.HasPrefix(low, lower) {
			begun = append(begun, c)
		}
	}
	if best == "" && len(begun) == 1 {
		return begun[0]
	}
	return best
}

// didYouMean is the suggestion for word, "" without a near candidate.
func didYouMean(word string, candidates []string) string {
	if near := Nearest(word, candidates); near != "" {
		return "did you mean " + quote(near) + "?"
	}
	return ""
}

// distance is the number of insertions, deletions, substitutions and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev, cur := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		cur[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(y)]
}
