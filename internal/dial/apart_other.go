//go:build !unix

package dial

import "os/exec"

func apart(*exec.Cmd) {}
