package gcpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// errDrop asks for the connection to be closed without an answer.
var errDrop = errors.New("drop the connection")

// apiError is an error in the shape of the Cloud SQL Admin API.
type apiError struct {
	code     int
	reason   string
	message  string
	location string // the header that a precondition came in
	after    int    // seconds to wait, as Retry-After; 0: none are named
}

func (e *apiError) Error() string { return e.message }

func (e *apiError) write(w http.ResponseWriter) {
	item := map[string]any{"message": e.message, "domain": "global", "reason": e.reason}
	if e.location != "" {
		item["location"], item["locationType"] = e.location, "header"
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if e.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.after))
	}
	w.WriteHeader(e.code)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client is gone if it fails
		"error": map[string]any{"code": e.code, "message": e.message, "errors": []any{item}},
	})
}

func asError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return &apiError{code: http.StatusInternalServerError, reason: "internalError", message: "sandbox: " + err.Error()}
}

func invalid(format string, args ...any) error {
	return &apiError{code: http.StatusBadRequest, reason: "invalidRequest", message: "Invalid request: " + fmt.Sprintf(format, args...)}
}

func notRunning() error {
	return &apiError{
		code: http.StatusBadRequest, reason: "invalidState",
		message: "Invalid request: Invalid request since instance is not running.",
	}
}

func notEmulated(format string, args ...any) error {
	return &apiError{
		code: http.StatusNotImplemented, reason: "notImplemented",
		message: "sandbox: not emulated: " + fmt.Sprintf(format, args...),
	}
}

func missing(reason, what string) error {
	return &apiError{code: http.StatusNotFound, reason: reason, message: "The Cloud SQL " + what + " does not exist."}
}

func exists(reason, format string, args ...any) error {
	return &apiError{code: http.StatusConflict, reason: reason, message: fmt.Sprintf(format, args...)}
}

func busy() error {
	return &apiError{
		code: http.StatusConflict, reason: "operationInProgress",
		message: "Operation failed because another operation was already in progress. Try your request after the current " +
			"operation is complete.",
	}
}

func stale() error {
	return &apiError{
		code: http.StatusPreconditionFailed, reason: "staleData", message: "Condition does not match.", location: "If-Match",
	}
}

// throttled is the answer to one request too many, with how long to wait if that is known.
func throttled(wait time.Duration) error {
	return &apiError{
		code: http.StatusTooManyRequests, reason: "rateLimitExceeded", after: int(math.Ceil(wait.Seconds())),
		message: "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'sqladmin.googleapis.com'.",
	}
}

func unauthenticated() error {
	return &apiError{
		code: http.StatusUnauthorized, reason: "authError", location: "Authorization",
		message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid " +
			"authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
	}
}

func scopeMissing() error {
	return &apiError{
		code: http.StatusForbidden, reason: "insufficientPermissions",
		message: "Request had insufficient authentication scopes.",
	}
}

// stranger is the answer to somebody who may not even know whether a project exists.
func stranger() error {
	return &apiError{code: http.StatusForbidden, reason: "notAuthorized", message: "The client is not authorized to make this request."}
}

// denied names the permission that is missing, on an instance or, without one, on a project.
func denied(permission, resource string) error {
	return &apiError{
		code: http.StatusForbidden, reason: "forbidden",
		message: "boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission " + permission +
			" on resource " + resource + ".",
	}
}

// errFault is the cause of an operation that fails because a test or a person asked for it.
var errFault = &opError{"INTERNAL_ERROR", "An internal error occurred (sandbox: a fault was asked for)."}
