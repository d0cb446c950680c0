package awsid

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	dateForm  = "20060102T150405Z"
	skew      = 5 * time.Minute
)

// signature is what a request says about its own signature.
type signature struct {
	presigned bool
	key       string // access key
	region    string
	service   string
	headers   []string // signed headers, lower case
	date      string
	sig       string
	expires   time.Duration // presigned only
}

// Scope returns the service that a request is signed for, unchecked: enough to route it. It is empty for an unsigned request.
func Scope(r *http.Request) string {
	s, err := parseSignature(r)
	if err != nil {
		return ""
	}
	return s.service
}

// Verify finds out who signed r, whose body was read before, for service. Errors are [*Error] with the codes of AWS's query
// services.
func (k *Keys) Verify(r *http.Request, body []byte, service string) (Caller, error) {
	s, err := parseSignature(r)
	if err != nil {
		return Caller{}, err
	}
	if s.service != service {
		return Caller{}, mismatch("Credential should be scoped to correct service: '%s'.", service)
	}
	if s.region != k.region && (service != "sts" || s.region != "us-east-1") {
		return Caller{}, mismatch("Credential should be scoped to a valid region, not '%s'.", s.region)
	}
	sec, caller, ok := k.lookup(s.key)
	if !ok || r.Header.Get("X-Amz-Security-Token") != "" || r.URL.Query().Has("X-Amz-Security-Token") {
		return Caller{}, &Error{Status: 403, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}
	}
	at, err := k.checkTime(s)
	if err != nil {
		return Caller{}, err
	}
	if h := unsigned(r, s); h != "" {
		return Caller{}, mismatch("'%s' must be a 'SignedHeader' in the AWS Authorization.", h)
	}
	creds := aws.Credentials{AccessKeyID: s.key, SecretAccessKey: sec}
	want, err := resign(r, body, s, creds, at)
	if err != nil {
		return Caller{}, err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.sig)) != 1 {
		return Caller{}, mismatch("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return caller, nil
}

func mismatch(format string, args ...any) *Error {
	return &Error{Status: 403, Code: "SignatureDoesNotMatch", Message: fmt.Sprintf(format, args...)}
}

func incomplete(format string, args ...any) *Error {
	return &Error{Status: 400, Code: "IncompleteSignature", Message: fmt.Sprintf(format, args...)}
}

// parseSignature reads the Authorization header, or the query of a presigned request.
func parseSignature(r *http.Request) (signature, error) {
	auth := r.Header.Get("Authorization")
	if auth == "" {
		if q := r.URL.Query(); q.Get("X-Amz-Algorithm") != "" {
			return presignature(q)
		}
		return signature{}, &Error{Status: 403, Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token"}
	}
	rest, ok := strings.CutPrefix(auth, algorithm+" ")
	if !ok {
		return signature{}, incomplete("Unsupported AWS 'algorithm', want '%s'.", algorithm)
	}
	s := signature{date: r.Header.Get("X-Amz-Date")}
	var credential, headers string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			headers = value
		case "Signature":
			s.sig = value
		}
	}
	return s, s.complete(credential, headers)
}

func presignature(q url.Values) (signature, error) {
	s := signature{presigned: true, date: q.Get("X-Amz-Date"), sig: q.Get("X-Amz-Signature")}
	if q.Get("X-Amz-Algorithm") != algorithm {
		return s, incomplete("Unsupported AWS 'algorithm', want '%s'.", algorithm)
	}
	n, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil || n < 0 || n > 604800 {
		// STS takes presigned requests without it and means fifteen minutes.
		n = 900
	}
	s.expires = time.Duration(n) * time.Second
	return s, s.complete(q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"))
}

// complete takes the credential scope and the signed headers apart.
func (s *signature) complete(credential, headers string) error {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term")
	}
	s.key, s.region, s.service = scope[0], scope[2], scope[3]
	switch {
	case s.sig == "":
		return incomplete("Authorization header requires 'Signature' parameter.")
	case headers == "":
		return incomplete("Authorization header requires 'SignedHeaders' parameter.")
	case s.date == "":
		return incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	s.headers = strings.Split(headers, ";")
	return nil
}

// checkTime tells when the request was signed, if that is neither too long ago nor in the future.
func (k *Keys) checkTime(s signature) (time.Time, error) {
	at, err := time.Parse(dateForm, s.date)
	if err != nil {
		return at, incomplete("Date must be in ISO-8601 'basic format'. Got '%s'.", s.date)
	}
	now := k.now().UTC()
	oldest := now.Add(-skew)
	if s.presigned {
		oldest = now.Add(-s.expires)
	}
	switch {
	case at.Before(oldest):
		return at, mismatch("Signature expired: %s is now earlier than %s (%s - %d min.)",
			s.date, oldest.Format(dateForm), now.Format(dateForm), int(now.Sub(oldest).Minutes()))
	case at.After(now.Add(skew)):
		return at, mismatch("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			s.date, now.Add(skew).Format(dateForm), now.Format(dateForm))
	}
	return at, nil
}

// unsigned returns a header that must be signed and is not.
func unsigned(r *http.Request, s signature) string {
	signed := map[string]bool{}
	for _, h := range s.headers {
		signed[h] = true
	}
	if !signed["host"] {
		return "Host"
	}
	for h := range r.Header {
		if l := strings.ToLower(h); strings.HasPrefix(l, "x-amz-") && !signed[l] {
			return h
		}
	}
	return ""
}

// resign signs a copy of r that has only the signed headers, and returns the signature. The Go SDK signs content-length, other
// SDKs do not: the copy has a length only if it was signed.
func resign(r *http.Request, body []byte, s signature, creds aws.Credentials, at time.Time) (string, error) {
	u := &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if s.presigned {
		q := u.Query()
		for _, name := range []string{"X-Amz-Signature", "X-Amz-Date", "X-Amz-Credential", "X-Amz-Algorithm", "X-Amz-SignedHeaders"} {
			q.Del(name)
		}
		u.RawQuery = q.Encode()
	}
	c, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), http.NoBody)
	if err != nil {
		return "", incomplete("%v", err)
	}
	c.ContentLength = 0
	for _, h := range s.headers {
		switch h {
		case "host":
		case "content-length":
			c.ContentLength = int64(len(body))
		default:
			name := http.CanonicalHeaderKey(h)
			if v := r.Header[name]; v != nil {
				c.Header[name] = append([]string(nil), v...)
			}
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if s.presigned {
		signed, _, err := v4.NewSigner().PresignHTTP(r.Context(), creds, c, hash, s.service, s.region, at)
		if err != nil {
			return "", incomplete("%v", err)
		}
		su, err := url.Parse(signed)
		if err != nil {
			return "", incomplete("%v", err)
		}
		return su.Query().Get("X-Amz-Signature"), nil
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), creds, c, hash, s.service, s.region, at); err != nil {
		return "", incomplete("%v", err)
	}
	_, sig, ok := bytes.Cut([]byte(c.Header.Get("Authorization")), []byte("Signature="))
	if !ok {
		return "", incomplete("no signature could be calculated")
	}
	return string(sig), nil
}
