package awsid

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/uuid"

	"dbops/internal/sandbox/play"
)

// Error is an error answer of AWS, in the words of its query services.
type Error struct {
	Status  int
	Code    string
	Message string
}

// Error is the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Newf makes an [Error].
func Newf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NotEmulated is the answer to what AWS can do and the sandbox cannot.
func NotEmulated(what string) *Error {
	return Newf(http.StatusNotImplemented, "NotImplemented", "sandbox: not emulated: %s", what)
}

// MaxBody is the largest request that a played service reads.
const MaxBody = 1 << 20

// ReadBody reads the body of a request, up to [MaxBody].
func ReadBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return nil, Newf(400, "InvalidRequest", "the request could not be read")
	case len(body) > MaxBody:
		return nil, Newf(413, "RequestEntityTooLarge", "the request is larger than %d bytes", MaxBody)
	}
	return body, nil
}

// Injected returns the error that a fault asks for before the action on target is looked at, or nil. A dropped connection is
// a panic that net/http understands.
func Injected(faults *play.Faults, c Caller, service, action, target, resource string) error {
	switch faults.Take(service, action, target, play.Throttle, play.Deny, play.Unavailable, play.Drop) {
	case play.Throttle:
		return Newf(400, "Throttling", "Rate exceeded")
	case play.Deny:
		name := service + ":" + action
		return c.Denied(name, resource, "because no identity-based policy allows the "+name+" action")
	case play.Unavailable:
		return Newf(503, "ServiceUnavailable", "Service is unable to handle request.")
	case play.Drop:
		panic(http.ErrAbortHandler)
	default:
		return nil
	}
}

// WriteResult answers an action of the query protocol; result is the XML inside <ActionResult>.
func WriteResult(w http.ResponseWriter, namespace, action string, result []byte) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<%[1]sResponse xmlns="%[2]s"><%[1]sResult>%[3]s</%[1]sResult>`, action, namespace, result)
	finish(w, http.StatusOK, &b, "<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></"+action+"Response>")
}

// WriteError answers with an error of the query protocol. What is not an [*Error] is an InternalFailure that says nothing.
func WriteError(w http.ResponseWriter, namespace string, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = Newf(500, "InternalFailure", "An internal error has occurred. Please try your query again at a later time.")
	}
	kind := "Sender"
	if e.Status >= 500 {
		kind = "Receiver"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<ErrorResponse xmlns="%s"><Error><Type>%s</Type><Code>%s</Code><Message>`, namespace, kind, e.Code)
	_ = xml.EscapeText(&b, []byte(e.Message)) // a buffer does not fail
	b.WriteString("</Message></Error>")
	finish(w, e.Status, &b, "<RequestId>%s</RequestId></ErrorResponse>")
}

func finish(w http.ResponseWriter, status int, b *bytes.Buffer, end string) {
	id := uuid.NewString()
	fmt.Fprintf(b, end, id)
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-Requestid", id)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client is gone
}
