package secret

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The schemes of a [Ref].
const (
	SchemeAWS  = "aws-sm" // AWS Secrets Manager: aws-sm:[REGION/]NAME[#KEY]
	SchemeGCP  = "gcp-sm" // GCP Secret Manager: gcp-sm:projects/P/secrets/S[/versions/V][#KEY]
	SchemeFile = "file"   // a file: file:PATH[#KEY]; a relative path is relative to dbops.yaml
	SchemeEnv  = "env"    // an environment variable: env:NAME
)

// Ref names the place of a secret. KEY picks one field of a secret whose text is a JSON object.
type Ref struct {
	Scheme string
	Name   string
	Key    string
}

// ParseRef parses "scheme:name[#key]". The error says what is wrong and lists the schemes; it does not repeat a text that names no
// place, which may be the secret itself.
func ParseRef(s string) (Ref, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	r := Ref{Scheme: scheme, Name: rest}
	keyed := false
	switch scheme {
	case SchemeAWS, SchemeGCP, SchemeFile:
		r.Name, r.Key, keyed = strings.Cut(rest, "#")
	case SchemeEnv:
	default:
		return Ref{}, errors.New("a secret is named by its place, as in aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH or env:NAME")
	}
	if r.Name == "" {
		return Ref{}, fmt.Errorf("%s: the name after the colon is missing", scheme)
	}
	if keyed && r.Key == "" {
		return Ref{}, fmt.Errorf("%s: the field after # is missing", r)
	}
	if scheme == SchemeGCP && !isGCPName(r.Name) {
		return Ref{}, fmt.Errorf("gcp-sm:%s: want projects/PROJECT/secrets/NAME[/versions/VERSION]", r.Name)
	}
	return r, nil
}

func isGCPName(name string) bool {
	p := strings.Split(name, "/")
	if (len(p) != 4 && len(p) != 6) || p[0] != "projects" || p[2] != "secrets" || (len(p) == 6 && p[4] != "versions") {
		return false
	}
	for _, part := range p {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// String is the text [ParseRef] reads. It is not a secret.
func (r Ref) String() string {
	s := r.Scheme + ":" + r.Name
	if r.Key != "" {
		s += "#" + r.Key
	}
	return s
}

// Within returns r with a relative file path made absolute under dir.
func (r Ref) Within(dir string) Ref {
	if r.Scheme == SchemeFile && !filepath.IsAbs(r.Name) {
		r.Name = filepath.Join(dir, r.Name)
	}
	return r
}

// Source reads the secrets of one scheme.
type Source interface {
	// Get returns the secret that r names now. It may be called at any time, from any goroutine. A missing secret is
	// fault.NotFound, a missing permission fault.Denied; neither error holds any part of a secret.
	Get(ctx context.Context, r Ref) (Value, error)
}
