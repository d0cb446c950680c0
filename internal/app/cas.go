package app

import (
	"crypto/x509"
	"os"
	"sync"
	"time"

	"dbops/internal/pg"
)

// caFiles shares what CA files hold among connections: a region's bundle has a hundred certificates, and a session keeps its pool.
// A file that changed is read again.
type caFiles struct {
	mu    sync.Mutex
	known map[string]caFile
}

type caFile struct {
	pool    *x509.CertPool
	size    int64
	changed time.Time
}

func (c *caFiles) load(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.known[path]; ok && f.size == info.Size() && f.changed.Equal(info.ModTime()) {
		return f.pool, nil
	}
	pool, err := pg.LoadCAs(path)
	if err != nil {
		return nil, err
	}
	if c.known == nil {
		c.known = map[string]caFile{}
	}
	c.known[path] = caFile{pool, info.Size(), info.ModTime()}
	return pool, nil
}
