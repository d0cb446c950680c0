package ssmapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The types of messages, and of what is in those of a stream.
const (
	inputStream  = "input_stream_data"
	outputStream = "output_stream_data"
	acknowledge  = "acknowledge"
	closed       = "channel_closed"

	payloadData              = 1
	payloadHandshakeRequest  = 5
	payloadHandshakeResponse = 6
	payloadHandshakeComplete = 7
	payloadFlag              = 10

	flagTerminate    = 2 // of the client: the session is to end
	flagConnectError = 3 // of the agent: a remote host cannot be connected to
)

// Where the parts of a message are.
const (
	atType, atVersion, atCreated, atSequence, atFlags, atID, atDigest, atPayloadType, atLength, atPayload = 4, 36, 40, 48, 56, 64, 80, 112, 116, 120

	typeSize = atVersion - atType
	// maxPayload is the most that an agent puts into a message.
	maxPayload = 1024
)

// message is one of the data channel.
type message struct {
	kind        string
	sequence    int64
	flags       uint64
	id          uuid.UUID
	payloadType uint32
	payload     []byte
}

func (m *message) encode(now time.Time) []byte {
	b := make([]byte, atPayload+len(m.payload))
	binary.BigEndian.PutUint32(b, atLength)
	copy(b[atType:], m.kind+strings.Repeat(" ", typeSize-len(m.kind)))
	binary.BigEndian.PutUint32(b[atVersion:], 1)
	binary.BigEndian.PutUint64(b[atCreated:], uint64(now.UnixMilli()))
	binary.BigEndian.PutUint64(b[atSequence:], uint64(m.sequence))
	binary.BigEndian.PutUint64(b[atFlags:], m.flags)
	copy(b[atID:], m.id[8:]) // the lower half comes first
	copy(b[atID+8:], m.id[:8])
	digest := sha256.Sum256(m.payload)
	copy(b[atDigest:], digest[:])
	binary.BigEndian.PutUint32(b[atPayloadType:], m.payloadType)
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(m.payload)))
	copy(b[atPayload:], m.payload)
	return b
}

func decode(b []byte) (*message, error) {
	if len(b) < atPayload {
		return nil, errors.New("the message is too short")
	}
	if n := binary.BigEndian.Uint32(b); n != atLength {
		return nil, fmt.Errorf("its header has %d bytes", n)
	}
	m := &message{
		kind:        strings.TrimSpace(string(bytes.Trim(b[atType:atVersion], "\x00"))),
		sequence:    int64(binary.BigEndian.Uint64(b[atSequence:])),
		flags:       binary.BigEndian.Uint64(b[atFlags:]),
		payloadType: binary.BigEndian.Uint32(b[atPayloadType:]),
		payload:     b[atPayload:],
	}
	copy(m.id[8:], b[atID:atID+8])
	copy(m.id[:8], b[atID+8:atDigest])
	if n := binary.BigEndian.Uint32(b[atLength:]); int(n) != len(m.payload) {
		return nil, fmt.Errorf("its payload has %d bytes, not %d", len(m.payload), n)
	}
	if digest := sha256.Sum256(m.payload); len(m.payload) > 0 && !bytes.Equal(digest[:], b[atDigest:atPayloadType]) {
		return nil, errors.New("its payload is not what its digest is of")
	}
	return m, nil
}
