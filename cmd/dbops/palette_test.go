package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"dbops/internal/tui"
)

func TestThePaletteOfTheTerminalUINamesCommandsThatAreThere(t *testing.T) {
	all := tui.Commands()
	if len(all) < 5 {
		t.Fatalf("%d commands", len(all))
	}
	for _, words := range all {
		cmd, rest, err := newRootCmd(&cli{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}).Find(words)
		if err != nil || len(rest) > 0 || !slices.Equal(strings.Fields(cmd.CommandPath())[1:], words) {
			t.Errorf("dbops %s is no command: %v %v", strings.Join(words, " "), rest, err)
		}
	}
}
