package awsid

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"

	"dbops/internal/sandbox/play"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// STS answers GetCallerIdentity, which needs no permission, to whoever signs with a known key.
func (k *Keys) STS(faults *play.Faults) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := k.callerIdentity(r, faults)
		if err != nil {
			WriteError(w, stsNamespace, err)
			return
		}
		var b bytes.Buffer
		for _, f := range [][2]string{{"Arn", caller.ARN()}, {"UserId", caller.userID}, {"Account", k.account}} {
			fmt.Fprintf(&b, "<%s>", f[0])
			_ = xml.EscapeText(&b, []byte(f[1])) // a buffer does not fail
			fmt.Fprintf(&b, "</%s>", f[0])
		}
		WriteResult(w, stsNamespace, "GetCallerIdentity", b.Bytes())
	})
}

func (k *Keys) callerIdentity(r *http.Request, faults *play.Faults) (Caller, error) {
	body, err := ReadBody(r)
	if err != nil {
		return Caller{}, err
	}
	caller, err := k.Verify(r, body, "sts")
	if err != nil {
		return Caller{}, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Caller{}, Newf(400, "MalformedQueryString", "the body is not a form")
	}
	if r.Method == http.MethodGet {
		form = r.URL.Query()
	}
	action := form.Get("Action")
	if err := Injected(faults, caller, "sts", action, "", "*"); err != nil {
		return Caller{}, err
	}
	if action != "GetCallerIdentity" {
		return Caller{}, NotEmulated("sts " + action)
	}
	return caller, nil
}

// Front serves every service on one port: a request goes to the handler of the service that it is signed for.
func Front(services map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := Scope(r)
		if h := services[scope]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		if scope == "" {
			_, err := parseSignature(r)
			WriteError(w, stsNamespace, err)
			return
		}
		WriteError(w, stsNamespace, NotEmulated("service "+scope))
	})
}
