// Package proxy is the local wire-protocol proxy: one listener for all databases of an environment.
//
// A client's startup message names the database; the proxy checks the client's password, logs in upstream itself through
// pgconn, answers the client with what the server said, and from then on relays bytes. Whatever goes wrong before that is a
// PostgreSQL error with SQLSTATE, detail and hint. It knows nothing of clouds: [Upstream.Config] says how to log in.
//
// # The path of a connection
//
//   - Accept. [Server.Serve] owns the listener and every goroutine it starts. It survives running out of file descriptors, and
//     bounds the connections that have not logged in (Config.MaxStartups) and those that have (Config.MaxConns).
//   - Startup. The first packets are read byte-exactly, so that nothing a client sent ahead is lost and nothing sent before TLS
//     can pass for something sent inside it. Encryption may be asked for by SSLRequest or by direct TLS, protocol 3.0 and 3.2
//     are spoken, and newer minor versions and unknown options are negotiated down.
//   - Password. It is asked for in the clear, inside TLS or on loopback, and compared in constant time before anything is dialled.
//   - Login. The database's [Upstream] says how. The client's own startup parameters are passed on; those that the upstream pins
//     win, whether the client sent them as parameters or inside "options". The proxy answers SCRAM in pgconn's place, as it remembers
//     the keys.
//   - Greeting. One write: what the server said about itself, a cancel key of the proxy's own, and ReadyForQuery.
//   - Relay. Two goroutines a session copy bytes and follow the message headers, never the contents. So the proxy knows when a
//     session is idle, when it owes an answer, and where a message ends: the only place where one of its own can be put in.
//   - End. A client that leaves in the middle of a statement ends the session upstream at once. An upstream that is lost is told
//     to the client as 08006, a shutdown or [Server.Kill] as 57P01, between two messages.
//
// # What a session may do
//
// The login role decides, on the server. A pinned default_transaction_read_only=on is a guard against accidents: a client
// cannot undo it while it connects, but may at any time SET it off or BEGIN READ WRITE. Read access is safe to hand out only if its
// role cannot write.
//
// # Dead peers
//
// Keepalives notice a peer that vanished from an idle connection within a minute. TCP_USER_TIMEOUT is left alone on purpose: it
// also ends connections whose peer is alive and merely does not read, such as COPY into a locked table. Data that the network
// swallows is found by looking at the kernel's retransmissions instead (on Linux).
package proxy
