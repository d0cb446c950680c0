package proxy

import (
	"crypto/tls"
	"sync"
)

// ticketsMax is how many TLS sessions are kept of one instance.
const ticketsMax = 16

// tickets are the TLS sessions that may be resumed, by instance. PostgreSQL itself gives none; a pooler or a balancer in front of it may.
type tickets struct{ m sync.Map }

// of returns those of an instance; nil where crypto/tls is told not to verify, as whoever does it in its place is not asked about a resumed session.
func (t *tickets) of(instance string, cfg *tls.Config) tls.ClientSessionCache {
	if cfg.InsecureSkipVerify {
		return nil
	}
	v, ok := t.m.Load(instance)
	if !ok {
		v, _ = t.m.LoadOrStore(instance, tls.NewLRUClientSessionCache(ticketsMax))
	}
	cache, _ := v.(tls.ClientSessionCache)
	return cache
}
