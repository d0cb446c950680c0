package runapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// errDrop asks for the connection to be closed without an answer.
var errDrop = errors.New("drop the connection")

// apiError is an error in the shape of Google's REST APIs.
type apiError struct {
	http    int
	status  string // name of the gRPC code
	message string
	details []any
}

func (e *apiError) Error() string { return e.message }

func (e *apiError) write(w http.ResponseWriter) {
	body := map[string]any{"code": e.http, "message": e.message, "status": e.status}
	if e.details != nil {
		body["details"] = e.details
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(e.http)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": body}) // the client is gone if it fails
}

func asError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return &apiError{http.StatusInternalServerError, "INTERNAL", "sandbox: " + err.Error(), nil}
}

func invalid(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf(format, args...), nil}
}

func notFound(kind, id string) error {
	return &apiError{http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("%s '%s' not found.", kind, id), nil}
}

func stale(id string) error {
	return &apiError{http.StatusConflict, "ABORTED", fmt.Sprintf("Conflict for resource '%s': the etag that was specified is not the current one.", id), nil}
}

func taken(revision string) error {
	return &apiError{http.StatusConflict, "ALREADY_EXISTS", fmt.Sprintf("Revision named '%s' with different configuration already exists.", revision), nil}
}

func notEmulated(what string) error {
	return &apiError{http.StatusNotImplemented, "UNIMPLEMENTED", "sandbox: not emulated: " + what, nil}
}

func unauthenticated() error {
	return &apiError{http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 " +
		"access token, login cookie or other valid authentication credential. " +
		"See https://developers.google.com/identity/sign-in/web/devconsole-project.", nil}
}

func scopeMissing() error {
	return &apiError{
		http.StatusForbidden, "PERMISSION_DENIED", "Request had insufficient authentication scopes.",
		[]any{errorInfo("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com", map[string]string{"service": "run.googleapis.com"})},
	}
}

func denied(permission, resource string) error {
	return &apiError{
		http.StatusForbidden, "PERMISSION_DENIED",
		fmt.Sprintf("Permission '%s' denied on resource '%s' (or resource may not exist).", permission, resource),
		[]any{errorInfo("IAM_PERMISSION_DENIED", "run.googleapis.com", map[string]string{"permission": permission, "resource": resource})},
	}
}

func mayNotActAs(account string) error {
	return &apiError{
		http.StatusForbidden, "PERMISSION_DENIED",
		fmt.Sprintf("Permission 'iam.serviceaccounts.actAs' denied on service account %s (or it may not exist).", account), nil,
	}
}

func errorInfo(reason, domain string, metadata map[string]string) any {
	return map[string]any{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain, "metadata": metadata,
	}
}
