package world

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

var errUnbuilt = errors.New("the world is being built")

type world struct{}

type server struct{}

func open(context.Context, Options) (*World, error) { return nil, errUnbuilt }

func (w *world) create(context.Context, Spec, tls.Certificate) (*Server, error) {
	return nil, errUnbuilt
}
func (w *world) server(string) *Server                { return nil }
func (w *world) remove(context.Context, string) error { return errUnbuilt }
func (w *world) backup(context.Context, string, string) (Backup, error) {
	return Backup{}, errUnbuilt
}
func (w *world) backups(string) []Backup   { return nil }
func (w *world) removeBackup(string) error { return errUnbuilt }
func (w *world) restore(context.Context, Backup, time.Time, Spec, tls.Certificate) (*Server, error) {
	return nil, errUnbuilt
}
func (w *world) close() error { return errUnbuilt }

func (s *server) getSpec() Spec                                    { return Spec{} }
func (s *server) addr() string                                     { return "" }
func (s *server) version() string                                  { return "" }
func (s *server) setCertificate(tls.Certificate) error             { return errUnbuilt }
func (s *server) setTokenCheck(TokenCheck)                         {}
func (s *server) setRequireTLS(bool)                               {}
func (s *server) handle(context.Context, net.Conn, string) error   { return errUnbuilt }
func (s *server) db(context.Context, string) (*pgx.Conn, error)    { return nil, errUnbuilt }
func (s *server) restart(context.Context, map[string]string) error { return errUnbuilt }
func (s *server) failover(context.Context, time.Duration) error    { return errUnbuilt }
func (s *server) stop(context.Context) error                       { return errUnbuilt }
func (s *server) start(context.Context) error                      { return errUnbuilt }
func (s *server) latestRestorable() time.Time                      { return time.Time{} }
