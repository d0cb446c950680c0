//go:build !unix

package proxy

func fileLimit() uint64 { return 0 }
