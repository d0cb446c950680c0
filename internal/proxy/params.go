package proxy

import (
	"maps"
	"os"
	"os/user"
	"strings"
)

const nameMax = 63 // bytes of a name on the server

// runtimeParams are the startup parameters of the session upstream: the client's, except those that say who and where, and those
// that are pinned. PostgreSQL reads "options" first and the parameters after it, and the last setting wins: so a pinned parameter
// holds against the client's options, and pinned options are put behind the client's.
func runtimeParams(sent []param, pinned map[string]string, application string) map[string]string {
	out := map[string]string{}
	if application != "" {
		out["application_name"] = application
	}
	var options string
	for _, p := range sent {
		switch name := strings.ToLower(p.name); name { // names of settings have no case
		case "user", "database", "password", "passfile", "sslpassword":
		case "options":
			options = p.value
		default:
			out[name] = p.value
		}
	}
	fixed := strings.TrimSpace(pinned["options"])
	for _, name := range settings(fixed) {
		delete(out, name)
	}
	for name := range pinned {
		delete(out, strings.ToLower(name))
	}
	maps.Copy(out, pinned)
	if options != "" && fixed != "" {
		// A backslash at the end would make what follows a part of the client's last value.
		bare := strings.TrimRight(options, `\`)
		even := (len(options) - len(bare)) / 2 * 2
		options = bare + strings.Repeat(`\`, even) + " " + fixed
	}
	if options != "" {
		out["options"] = options
	}
	return out
}

// settings are the names set by -c name=value and --name=value in a string of server options.
func settings(options string) []string {
	var names []string
	words := strings.Fields(options)
	for i, w := range words {
		switch {
		case w == "-c" && i+1 < len(words):
			w = words[i+1]
		case strings.HasPrefix(w, "-c"):
			w = w[2:]
		case strings.HasPrefix(w, "--"):
			w = w[2:]
		default:
			continue
		}
		name, _, _ := strings.Cut(w, "=")
		names = append(names, strings.ToLower(strings.ReplaceAll(name, "-", "_")))
	}
	return names
}

// DefaultApplication is dbops:USER@HOST of who runs the proxy.
func DefaultApplication() string {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	name := "dbops:" + who + "@" + host
	return name[:min(len(name), nameMax)]
}
