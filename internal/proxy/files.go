package proxy

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// outOfFiles tells whether err is for want of file descriptors, which of the two limits it is, and what to do about it.
func outOfFiles(err error) (limit syscall.Errno, hint string, is bool) {
	switch {
	case lacks(err, syscall.ENFILE):
		return syscall.ENFILE, "no program of this machine may open another file: end what holds many, or raise the system's limit (sysctl fs.file-max)", true
	case lacks(err, syscall.EMFILE):
		may := "no more files"
		if n := fileLimit(); n > 0 {
			may = fmt.Sprintf("%d files", n)
		}
		return syscall.EMFILE, "this process may open " + may +
			", and a session needs two: raise it with ulimit -n, or LimitNOFILE= of the service, and start the proxy again", true
	}
	return 0, "", false
}

func lacks(err error, e syscall.Errno) bool {
	if errors.Is(err, e) {
		return true
	}
	dns, ok := errors.AsType[*net.DNSError](err) // which keeps the text only
	return ok && strings.HasSuffix(dns.Err, e.Error())
}
