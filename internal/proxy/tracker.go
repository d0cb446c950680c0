package proxy

import "encoding/binary"

// frames follows the message headers of one direction of a session: a type byte and a length of four. It keeps no contents.
type frames struct {
	head [5]byte
	have int  // bytes of head that have come; 0 between two messages
	left int  // bytes of the body that are still to come
	lost bool // what came was no message; nothing is known any more
}

// boundary tells whether the stream is between two messages.
func (f *frames) boundary() bool { return f.have == 0 && !f.lost }

// next follows p up to the end of the current message, or of p. If a message ended, its type is in head[0] and its last byte is
// p[n-1].
func (f *frames) next(p []byte) (n int, ended bool) {
	if f.lost {
		return len(p), false
	}
	if f.have < len(f.head) {
		n = copy(f.head[f.have:], p)
		f.have += n
		if f.have < len(f.head) {
			return n, false
		}
		size := binary.BigEndian.Uint32(f.head[1:])
		if size < 4 || size > 1<<31-1 {
			f.lost = true
			return len(p), false
		}
		f.left = int(size) - 4
	}
	body := min(f.left, len(p)-n)
	f.left -= body
	n += body
	if f.left > 0 {
		return n, false
	}
	f.have = 0
	return n, true
}

// rows returns how many bytes at the beginning of p are whole messages of one of two types, which say nothing about the session. They are
// nearly all of what flows in bulk, and often short.
func (f *frames) rows(p []byte, one, other byte) (n int) {
	if !f.boundary() {
		return 0
	}
	for len(p)-n >= len(f.head) && (p[n] == one || p[n] == other) {
		size := binary.BigEndian.Uint32(p[n+1:])
		if size < 4 || uint64(size) >= uint64(len(p)-n) {
			break
		}
		n += 1 + int(size)
	}
	return n
}

// talk is what both directions together tell about a session. The answers that the server owes are counted, because a client may
// send many statements ahead: a ReadyForQuery alone does not mean that nothing runs.
type talk struct {
	client, server frames

	tx       byte // of the last ReadyForQuery: I, T or E
	owed     int  // ReadyForQuery messages that the server has still to send
	last     byte // what the newest of them is owed for: Q, S or F
	unsynced bool // extended-query messages came since the last Sync
	copying  bool // the server reads copy data, and skips Sync
	goodbye  bool // the client sent Terminate
	failed   bool // the newest message of the server is an error
}

// fromClient follows what the client sent. It must be called before the bytes are passed on, so that no answer comes early.
func (t *talk) fromClient(p []byte) {
	for len(p) > 0 {
		p = p[t.client.rows(p, 'd', 'd'):] // CopyData
		n, ended := t.client.next(p)
		p = p[n:]
		if !ended {
			continue
		}
		switch t.client.head[0] {
		case 'Q', 'F': // Query, FunctionCall
			t.owed++
			t.last, t.unsynced = t.client.head[0], false
		case 'S': // Sync
			if t.copying {
				continue
			}
			t.owed++
			t.last, t.unsynced = 'S', false
		case 'P', 'B', 'D', 'E', 'C': // Parse, Bind, Describe, Execute, Close
			t.unsynced = true
		case 'c', 'f': // CopyDone, CopyFail
			t.copying = false
		case 'X':
			t.goodbye = true
		}
	}
}

// fromServer follows what the server sent. With once it stops after the first message that ends. It returns how far it came.
func (t *talk) fromServer(p []byte, once bool) (n int, ended bool) {
	for n < len(p) {
		if !once {
			if k := t.server.rows(p[n:], 'D', 'd'); k > 0 { // DataRow, CopyData
				n, t.failed = n+k, false
				continue
			}
		}
		k, whole := t.server.next(p[n:])
		n += k
		if !whole {
			continue
		}
		t.failed = false
		switch t.server.head[0] {
		case 'Z': // ReadyForQuery
			t.tx, t.copying = p[n-1], false
			t.owed = max(0, t.owed-1)
		case 'G', 'W': // CopyInResponse, CopyBothResponse
			t.copying = true
			if t.last == 'S' && t.owed > 0 { // sent ahead, and skipped by the server now
				t.owed--
			}
		case 'E': // ErrorResponse
			t.copying, t.failed = false, true
		}
		if once {
			return n, true
		}
	}
	return n, false
}

// working tells whether the server is busy with something that the client asked for.
func (t *talk) working() bool { return t.owed > 0 || t.unsynced || t.copying }

// between tells whether the session can end here without anybody losing anything.
func (t *talk) between() bool {
	return !t.working() && t.tx == 'I' && t.client.boundary() && t.server.boundary()
}

// state is the word that a person reads.
func (t *talk) state() string {
	switch {
	case t.working():
		return "active"
	case t.tx == 'T':
		return "in transaction"
	case t.tx == 'E':
		return "failed transaction"
	default:
		return "idle"
	}
}
