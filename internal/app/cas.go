package app

import (
	"crypto/x509"
	"os"
	"sync"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/pg"
)

// caFiles shares what CA files hold among connections: a region's bundle has a hundred certificates, and a session keeps its pool.
// A file that changed is read again.
type caFiles struct {
	mu      sync.Mutex
	known   map[string]caFile
	regions map[string]*x509.CertPool // of RDS, the program's own copies
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

// region returns the program's own copy of the CAs of RDS in a region.
func (c *caFiles) region(op, name string) (*x509.CertPool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pool, ok := c.regions[name]; ok {
		return pool, nil
	}
	b, err := bundle.Own(name)
	if err != nil {
		return nil, unknownRegion(op, name, err)
	}
	if c.regions == nil {
		c.regions = map[string]*x509.CertPool{}
	}
	c.regions[name] = b.Pool()
	return c.regions[name], nil
}
