package secret

import (
	"context"
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

// ParseRef parses "scheme:name[#key]". The error says what is wrong and lists the schemes.
func ParseRef(s string) (Ref, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Ref{}, fmt.Errorf("a secret is named by its place, as in aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH or env:NAME")
	}
	r := Ref{Scheme: scheme, Name: rest}
	switch scheme {
	case SchemeAWS, SchemeGCP, SchemeFile:
		r.Name, r.Key, _ = strings.Cut(rest, "#")
	case SchemeEnv:
	default:
		return Ref{}, fmt.Errorf("unknown place of a secret %q: want aws-sm, gcp-sm, file or env", scheme)
	}
	if r.Name == "" {
		return Ref{}, fmt.Errorf("%s: the name after the colon is missing", scheme)
	}
	if scheme == SchemeGCP {
		p := strings.Split(r.Name, "/")
		if (len(p) != 4 && len(p) != 6) || p[0] != "projects" || p[2] != "secrets" || (len(p) == 6 && p[4] != "versions") {
			return Ref{}, fmt.Errorf("gcp-sm:%s: want projects/PROJECT/secrets/NAME[/versions/VERSION]", r.Name)
		}
	}
	return r, nil
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
