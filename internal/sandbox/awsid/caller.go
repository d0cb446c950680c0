package awsid

import (
	"fmt"
	"strings"

	"dbops/internal/sandbox/play"
)

// Caller is the principal who signed a request.
type Caller struct {
	account, userID string
	principal       Principal
	asked           *play.Asked
}

// ARN names the caller, as in arn:aws:iam::123456789012:user/alice.
func (c Caller) ARN() string { return "arn:aws:iam::" + c.account + ":" + c.principal.Name }

// UserID is the caller's unique identifier.
func (c Caller) UserID() string { return c.userID }

// Authorize tells whether the caller may do action on resource (an ARN). The error is AWS's own AccessDenied.
func (c Caller) Authorize(action, resource string) error {
	c.asked.Note(c.principal.Name, action)
	switch {
	case matchAny(c.principal.Deny, action, resource):
		return c.Denied(action, resource, "with an explicit deny in an identity-based policy")
	case !matchAny(c.principal.Allow, action, resource):
		return c.Denied(action, resource, "because no identity-based policy allows the "+action+" action")
	}
	return nil
}

// Denied is the AccessDenied error for action on resource; why ends its sentence.
func (c Caller) Denied(action, resource, why string) *Error {
	return &Error{
		Status: 403, Code: "AccessDenied",
		Message: fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", c.ARN(), action, resource, why),
	}
}

func matchAny(rules []Rule, action, resource string) bool {
	for _, r := range rules {
		if wild(strings.ToLower(r.Action), strings.ToLower(action)) && (r.Resource == "" || wild(r.Resource, resource)) {
			return true
		}
	}
	return false
}

// wild matches s against a pattern with * and ?, as IAM does: * also crosses colons and slashes.
func wild(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
