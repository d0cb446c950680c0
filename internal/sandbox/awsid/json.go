package awsid

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// DecodeJSON reads a request of the JSON protocol strictly: a member that in has no field for is refused.
func DecodeJSON(body []byte, in any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(in)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return Newf(400, "SerializationException", "the request is not one JSON object")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return Newf(400, "InvalidParameterException", "sandbox: not emulated: %s", strings.Trim(name, `"`))
	}
	return Newf(400, "SerializationException", "the request is not the JSON object that the action takes")
}

// WriteJSON answers an action of the JSON protocol, with out or with err.
func WriteJSON(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	status := http.StatusOK
	if err != nil {
		e := SpokenJSON(err)
		out, status = map[string]string{"__type": e.Code, "message": e.Message, "Message": e.Message}, e.Status
	}
	b, err := json.Marshal(out)
	if err != nil {
		b, status = []byte(`{"__type":"InternalServiceError"}`), http.StatusInternalServerError
	}
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client is gone
}

// SpokenJSON is err in the words of the JSON protocol, which has others than the query services.
func SpokenJSON(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return Newf(500, "InternalServiceError", "An error occurred on the server side.")
	}
	codes := map[string]string{
		"AccessDenied": "AccessDeniedException", "Throttling": "ThrottlingException", "ServiceUnavailable": "ServiceUnavailableException",
		"InvalidClientTokenId": "UnrecognizedClientException", "SignatureDoesNotMatch": "InvalidSignatureException",
		"MissingAuthenticationToken": "MissingAuthenticationTokenException", "IncompleteSignature": "IncompleteSignatureException",
	}
	code, ok := codes[e.Code]
	if !ok {
		return e
	}
	status := e.Status
	if status == http.StatusForbidden {
		status = http.StatusBadRequest
	}
	return &Error{Status: status, Code: code, Message: e.Message}
}

// Epoch is a time as the JSON protocol writes it: seconds since 1970, with milliseconds.
type Epoch time.Time

// MarshalJSON implements [json.Marshaler].
func (e Epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(e).UnixMilli())/1000, 'f', 3, 64), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (e *Epoch) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseFloat(string(b), 64)
	*e = Epoch(time.UnixMilli(int64(seconds * 1000)).UTC())
	return err
}
