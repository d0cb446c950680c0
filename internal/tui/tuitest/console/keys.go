package console

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// named are the bytes of keys that have a name.
var named = map[string]string{
	"enter": "\r", "esc": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "space": " ", "backspace": "\x7f",
	"up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D",
	"home": "\x1b[H", "end": "\x1b[F", "pgup": "\x1b[5~", "pgdown": "\x1b[6~",
}

// escPause is how long a program waits to tell an esc from the start of a sequence, and more. On a busy machine it is not enough
// for certain: wait for what the esc does before the next key.
const escPause = 120 * time.Millisecond

// Bytes is what a terminal sends for a key: a name as in "enter" or "ctrl+p", or the characters themselves.
func Bytes(key string) (string, error) {
	if b, ok := named[key]; ok {
		return b, nil
	}
	if c, ok := strings.CutPrefix(key, "ctrl+"); ok {
		if len(c) != 1 || c[0] < 'a' || c[0] > 'z' {
			return "", fmt.Errorf("unknown key %q: ctrl goes with a letter", key)
		}
		return string(rune(c[0] - 'a' + 1)), nil
	}
	if strings.ContainsRune(key, '+') && len(key) > 1 {
		return "", fmt.Errorf("unknown key %q", key)
	}
	return key, nil
}

// Send presses keys, one after the other, each by name or by its characters.
func (t *Term) Send(keys ...string) error {
	for _, k := range keys {
		b, err := Bytes(k)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(t.tty, b); err != nil {
			return fmt.Errorf("press %s: %w", k, err)
		}
		pause := 5 * time.Millisecond
		if k == "esc" {
			pause = escPause
		}
		wait := time.NewTimer(pause)
		<-wait.C
	}
	return nil
}
