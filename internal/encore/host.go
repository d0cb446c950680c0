package encore

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// found is what a host tells about the instance behind it.
type found struct {
	provider string // rds, cloudsql or postgres
	name     string // for dbops.yaml
	fields   [][2]string
	notes    []string // what cannot be known, or has to be done
}

// The hosts of clouds. An identifier of RDS, a part that is random for the account, the region.
var (
	rdsHost       = regexp.MustCompile(`^([a-z](?:-?[a-z0-9]){0,62})\.([a-z0-9-]+)\.([a-z]{2}(?:-[a-z]+)+-[0-9]{1,2})\.rds\.amazonaws\.com(\.cn)?$`)
	cloudsqlPath  = regexp.MustCompile(`^/cloudsql/((?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]):([a-z]+-[a-z]+[0-9]+):([a-z](?:[a-z0-9-]{0,96}[a-z0-9])?)$`)
	cloudsqlHost  = regexp.MustCompile(`\.([a-z]+-[a-z]+[0-9]+)\.sql(-psa|-psc)?\.goog\.?$`)
	validHostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)
)

// instanceOf says what can be known of the instance at host, whose CA the config gives or not.
func instanceOf(host string, hasCA bool) found {
	name, port := splitHost(host)
	name = strings.TrimSuffix(name, ".")
	if m := rdsHost.FindStringSubmatch(strings.ToLower(name)); m != nil && !strings.Contains(m[2], "-") {
		f := found{provider: "rds", name: m[1], fields: [][2]string{{"region", m[3]}, {"identifier", m[1]}}}
		f.notes = append(f.notes, "ca_file: rds-"+m[3]+".pem # the CA bundle of the region, where the CAs that dbops knows are not enough")
		if port != "" && port != "5432" {
			f.notes = append(f.notes, "The infra config says port "+port+"; dbops asks RDS for the port.")
		}
		return f
	}
	if m := cloudsqlPath.FindStringSubmatch(name); m != nil {
		return found{provider: "cloudsql", name: m[3], fields: [][2]string{{"project", m[1]}, {"region", m[2]}, {"instance", m[3]}}}
	}
	f := found{provider: "postgres", name: strings.Split(name, ".")[0]}
	u := url.URL{Scheme: "postgres", Host: name, Path: "/"}
	if port != "" {
		u.Host = net.JoinHostPort(name, port)
	} else if strings.Contains(name, ":") {
		u.Host = "[" + name + "]"
	}
	q := url.Values{"sslmode": {"verify-full"}}
	ip := net.ParseIP(name)
	switch {
	case strings.HasPrefix(name, "/"):
		f.name = "local"
		u.Host, q = "", url.Values{"host": {name}, "sslmode": {"disable"}}
	case local(host):
		f.name = "local"
		q.Set("sslmode", "disable")
		f.notes = append(f.notes, "The host is the container's own: on another machine it is somebody else.")
	case ip != nil:
		f.name = "main"
		f.notes = append(f.notes, "An address does not tell whose it is. If it is an instance of Cloud SQL, write in place of postgres:",
			"  cloudsql: {project: PROJECT, region: REGION, instance: NAME} # gcloud sql instances list shows them with their addresses")
		if hasCA {
			q.Set("sslmode", "verify-ca")
			f.notes = append(f.notes, "sslmode=verify-ca, because certificates seldom name an address; it is as safe as verify-full",
				"if the CA signs for this instance alone.")
		}
	case strings.HasSuffix(name, ".rds.amazonaws.com"), strings.HasSuffix(name, ".rds.amazonaws.com.cn"):
		f.notes = append(f.notes, "This is an address of Aurora, of a proxy or of a cluster: which instance answers cannot be known from it,",
			"and dbops does not manage those.")
	case cloudsqlHost.MatchString(name):
		f.name = "main"
		f.notes = append(f.notes, "This is an instance of Cloud SQL in "+cloudsqlHost.FindStringSubmatch(name)[1]+"; its project and name cannot be known from here.",
			"  cloudsql: {project: PROJECT, region: REGION, instance: NAME} # in place of postgres:")
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "%2F", "/")
	f.fields = [][2]string{{"url", u.String()}}
	if hasCA && !local(host) {
		f.notes = append(f.notes, "ca_file: "+fit(f.name)+".pem # save the infra config's \"ca\" of this server there, then delete the # here")
	}
	return f
}

// knownHost tells whether dbops.yaml takes such a host.
func knownHost(host string) bool {
	name, _ := splitHost(host)
	if usableHost(host) != nil || len(name) > 253 {
		return false
	}
	if strings.HasPrefix(name, "/") {
		return path.Clean(name) == name
	}
	return net.ParseIP(name) != nil || validHostname.MatchString(strings.TrimSuffix(name, "."))
}
