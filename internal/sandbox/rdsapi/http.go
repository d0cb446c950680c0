package rdsapi

import (
	"log/slog"
	"net/http"
	"net/url"

	"dbops/internal/sandbox/awsid"
)

const (
	namespace = "http://rds.amazonaws.com/doc/2014-10-31/"
	version   = "2014-10-31"
)

// ServeHTTP answers one request of the query protocol.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action, out, err := a.serve(r)
	if err != nil {
		a.log.LogAttrs(r.Context(), slog.LevelDebug, "rds request refused", slog.String("action", action), slog.Any("error", err))
		awsid.WriteError(w, namespace, err)
		return
	}
	a.log.LogAttrs(r.Context(), slog.LevelDebug, "rds request", slog.String("action", action))
	awsid.WriteResult(w, namespace, action, out)
}

// serve returns the XML of the result. Parameters are never logged: there are passwords among them.
func (a *API) serve(r *http.Request) (action string, out []byte, err error) {
	body, err := awsid.ReadBody(r)
	if err != nil {
		return "", nil, err
	}
	caller, err := a.keys.Verify(r, body, "rds")
	if err != nil {
		return "", nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil, awsid.Newf(400, "MalformedQueryString", "the body is not a form")
	}
	for k, v := range r.URL.Query() {
		form[k] = append(form[k], v...)
	}
	action = form.Get("Action")
	o, ok := a.ops[action]
	if !ok {
		return action, nil, awsid.NotEmulated("rds " + action)
	}
	if v := form.Get("Version"); v != version {
		return action, nil, awsid.Newf(400, "InvalidParameterValue", "version %q of the API is not played, %s is", v, version)
	}
	in, err := o.decode(form)
	if err != nil {
		return action, nil, awsid.Newf(400, "InvalidParameterValue", "%v", err)
	}
	on := o.about(in)
	resource := a.resource(on)
	if err := caller.Authorize("rds:"+action, resource); err != nil {
		return action, nil, err
	}
	if _, ok := a.limits.Take(a.keys.Account()); !ok {
		return action, nil, awsid.Newf(400, "Throttling", "Rate exceeded")
	}
	if err := awsid.Injected(a.faults, caller, "rds", action, on.id, resource); err != nil {
		return action, nil, err
	}
	if err := o.refuse(in); err != nil {
		return action, nil, err
	}
	result, err := o.handle(r.Context(), in)
	if err != nil {
		return action, nil, err
	}
	out, err = encodeXML(result)
	return action, out, err
}

// resource is the ARN that a permission is about.
func (a *API) resource(on about) string {
	switch {
	case on.kind == "" && on.id == "":
		return "*"
	case on.kind == "":
		return on.id
	case on.id == "":
		return a.arn(on.kind, "*")
	}
	return a.arn(on.kind, on.id)
}

func (a *API) arn(kind, id string) string {
	return "arn:aws:rds:" + a.region + ":" + a.keys.Account() + ":" + kind + ":" + id
}
