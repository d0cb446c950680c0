package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/secret"
)

const passwordMax = 1024 // bytes of a password message

// negotiation is what a client of a newer protocol is told first: what is spoken here.
func (h *hello) negotiation() []byte {
	if h.version <= pgproto3.ProtocolVersion32 && len(h.options) == 0 {
		return nil
	}
	// The field holds the whole version, as PostgreSQL sends it and libpq demands.
	return encode(nil, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: h.protocol(), UnrecognizedOptions: h.options})
}

// authenticate asks for the password and checks it. An error is a *refusal if the client can be told.
func (c *client) authenticate(h *hello, want secret.Value, environment string) error {
	if _, err := c.Write(encode(h.negotiation(), &pgproto3.AuthenticationCleartextPassword{})); err != nil {
		return err
	}
	got, err := c.password()
	switch {
	case errors.Is(err, io.EOF): // psql goes away to ask its user, and comes back
		return errSilent
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse("08P01", "no password came in time").hint("send it at once: it is in the URI that the proxy printed")
	case err != nil:
		return err
	case !want.Equal(got):
		return refuse("28P01", "password authentication failed for user %q: it is not the password of the proxy of environment %s", h.get("user"), environment).
			hint("each run of the proxy has a password of its own: take the connection string that it printed")
	}
	return nil
}

// password reads one PasswordMessage and nothing beyond.
func (c *client) password() (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return "", err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != 'p' || size < 5 || size > 4+passwordMax {
		return "", refuse("08P01", "expected a password, got a message of type %q with %d bytes", head[:1], size).hint(protocolHint)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(c, body); err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	if body[len(body)-1] != 0 {
		return "", refuse("08P01", "the password message has no end").hint(protocolHint)
	}
	return string(body[:len(body)-1]), nil
}
