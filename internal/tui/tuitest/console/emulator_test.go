package console

import "testing"

func TestMarginsOfAnEarlierSizeArePassedOver(t *testing.T) {
	emu := Emulator(80, 40)
	emu.Resize(20, 5)
	if _, err := emu.WriteString("\x1b[1;40r\x1b[1;1H\x1b[3Lstill here"); err != nil {
		t.Fatal(err)
	}
	if got := emu.String(); got[:10] != "still here" {
		t.Errorf("%q", got)
	}
}
