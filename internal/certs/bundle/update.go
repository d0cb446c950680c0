package bundle

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Published is where Amazon publishes the CAs of a region. China's are published elsewhere: it has none here.
func Published(name string) string {
	switch {
	case strings.HasPrefix(name, "cn-"):
		return ""
	case strings.HasPrefix(name, "us-gov-"):
		return "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/" + name + "/" + name + "-bundle.pem"
	}
	return "https://truststore.pki.rds.amazonaws.com/" + name + "/" + name + "-bundle.pem"
}

// Mirror is the address of a region's CAs below a base URL that keeps Amazon's paths.
func Mirror(base, name string) string {
	return strings.TrimRight(base, "/") + "/" + name + "/" + name + "-bundle.pem"
}

// Download is what was published.
type Download struct {
	Certs   []*x509.Certificate // those that may be trusted
	Expired []*x509.Certificate // left out
}

// Fetch downloads CAs over verified TLS, and takes nothing but CA certificates. A certificate that is no CA makes all of it worthless: it
// is not what Amazon publishes there.
func Fetch(ctx context.Context, client *http.Client, url string, now time.Time) (*Download, error) {
	if !strings.HasPrefix(url, "https://") {
		return nil, errors.New("its address does not begin with https://")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", req.URL.Host, resp.Status)
	}
	if resp.Request.URL.Scheme != "https" { // after redirects
		return nil, fmt.Errorf("%s led to %s, without TLS", req.URL.Host, resp.Request.URL.Host)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBundle+1))
	if err != nil {
		return nil, err
	}
	certs, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("what %s answered cannot be used: %w", req.URL.Host, err)
	}
	d := &Download{}
	for _, c := range certs {
		switch {
		case !c.IsCA:
			return nil, fmt.Errorf("what %s answered cannot be used: %s is no CA", req.URL.Host, Name(c))
		case now.After(c.NotAfter):
			d.Expired = append(d.Expired, c)
		case !slices.ContainsFunc(d.Certs, c.Equal):
			d.Certs = append(d.Certs, c)
		}
	}
	if len(d.Certs) == 0 {
		return nil, fmt.Errorf("what %s answered cannot be used: each of its certificates has expired", req.URL.Host)
	}
	return d, nil
}

// Difference is what a change of a bundle adds and takes away.
type Difference struct {
	Added, Removed, Same []*x509.Certificate
}

// Any tells whether there is one.
func (d Difference) Any() bool { return len(d.Added)+len(d.Removed) > 0 }

// Compare tells what makes b of a; a may be nil.
func Compare(a, b []*x509.Certificate) (d Difference) {
	for _, c := range b {
		if slices.ContainsFunc(a, c.Equal) {
			d.Same = append(d.Same, c)
		} else {
			d.Added = append(d.Added, c)
		}
	}
	for _, c := range a {
		if !slices.ContainsFunc(b, c.Equal) {
			d.Removed = append(d.Removed, c)
		}
	}
	return d
}
