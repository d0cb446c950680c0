package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// The files of a kit.
const (
	FileRoots     = "root.crt"        // the CAs, PEM
	FileTrust     = "truststore.p12"  // the same, for Java
	FileService   = "pg_service.conf" // for libpq
	FileCert      = "client.crt"      // PEM
	FileKey       = "client.key"      // PEM, PKCS#8
	FileKeyDER    = "client.pk8"      // the same, for JDBC
	FileP12       = "client.p12"      // certificate and key, for .NET
	FileP12Secret = "client.p12.password"
	trustPassword = "changeit" // Java's own word: what is in there is public
	// AnyDatabase is one that every server has.
	AnyDatabase    = "postgres"
	systemRoots    = "system" // libpq's name of the system's CAs
	verifyFull     = "verify-full"
	verifyCA       = "verify-ca"
	defaultService = "dbops"
)

// Kit is what clients of one instance need to verify its server, and what to tell each tool.
type Kit struct {
	Dir     string // absolute
	Service string // of pg_service.conf

	Certs     []*x509.Certificate // none: the system's
	RootsFrom string
	Active    *x509.Certificate // of Certs, that signed the server's certificate; nil: not known

	Host     string // that clients verify
	HostAddr string // that they connect to, if it is not Host
	Port     string
	Mode     string // what libpq can do: verify-full or verify-ca
	// Bare is the address for tools that cannot tell Host from HostAddr, and BareMode what they can do.
	Bare, BareMode string
	Database, User string
	Own            bool // the CAs sign this instance's certificate, and nobody else's
	Region         bool // the CAs sign those of every customer of RDS in the region

	HasClient bool     // Dir holds a client's certificate and key
	Notes     []string // what a person has to know
}

// KitOptions are the choices of a kit.
type KitOptions struct {
	Dir            string
	Database, User string // user may be empty
	Notes          []string
}

// NewKit works out a kit for a subject. What its server showed decides which name is verified; seen may be nil.
func NewKit(s *Subject, seen *Seen, o KitOptions, now time.Time) (*Kit, error) {
	what := "make the files for clients of " + s.String()
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fault.New(fault.Usage, what, err)
	}
	if strings.ContainsAny(dir, "\n\r\x00") {
		return nil, fault.Newf(fault.Usage, what, "the folder's name has a line break in it")
	}
	if s.Socket || len(s.Addresses) == 0 {
		return nil, fault.Newf(fault.Invalid, what, "its server has no address on a network").Hint("clients on this machine need no certificates")
	}
	k := &Kit{Dir: dir, Service: serviceOf(s.Environment, s.Instance), Database: o.Database, User: o.User, RootsFrom: s.RootsFrom, Notes: slices.Clone(o.Notes)}
	if err := k.roots(s, seen, now); err != nil {
		return nil, fault.New(fault.Invalid, what, err).Hint("rotate the CA of the instance, or name others with --ca-file")
	}
	host, port, err := net.SplitHostPort(s.Addresses[0].HostPort)
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	k.Port = port
	k.Own = s.Provider == cloud.CloudSQL && s.CommonName
	k.Region = s.Provider == cloud.RDS
	k.names(s, seen, host)
	_, certErr := os.Stat(filepath.Join(dir, FileCert))
	_, keyErr := os.Stat(filepath.Join(dir, FileKey))
	k.HasClient = certErr == nil && keyErr == nil
	return k, nil
}

// roots are the CAs that clients get: those that have not expired.
func (k *Kit) roots(s *Subject, seen *Seen, now time.Time) error {
	if s.Roots == nil {
		return nil
	}
	for _, c := range s.Roots {
		if now.After(c.NotAfter) {
			k.Notes = append(k.Notes, fmt.Sprintf("left out, because it expired on %s: %s", stamp(c.NotAfter), bundle.Name(c)))
			continue
		}
		k.Certs = append(k.Certs, c)
	}
	if len(k.Certs) == 0 {
		return errors.New("each of its CAs has expired")
	}
	if seen != nil {
		if root, err := seen.Root(s.Expect(), now); err == nil {
			k.Active = root
		}
	}
	if k.Active == nil && s.Told != nil {
		if ca := s.Told.CA(cloud.CAActive); ca != nil {
			k.Active = s.find(*ca)
		}
	}
	if n := len(s.rolesIn(k.Certs)); n > 1 {
		k.Notes = append(k.Notes, fmt.Sprintf("%s holds %d CAs of the instance, so that clients go on through a rotation, and back", FileRoots, n))
	}
	return nil
}

// rolesIn are the CAs of the instance alone that are among certs.
func (s *Subject) rolesIn(certs []*x509.Certificate) (all []cloud.ServerCA) {
	if s.Told == nil || s.Provider != cloud.CloudSQL {
		return nil
	}
	for _, ca := range s.Told.CAs {
		if c := s.find(ca); c != nil && slices.ContainsFunc(certs, c.Equal) {
			all = append(all, ca)
		}
	}
	return all
}

// names decides what clients connect to, and how far they can verify the name.
func (k *Kit) names(s *Subject, seen *Seen, host string) {
	k.Host, k.Mode, k.Bare, k.BareMode = host, verifyFull, host, verifyFull
	if s.Provider == cloud.Postgres && len(s.Names) == 0 { // dbops.yaml says that no name is verified
		k.Mode, k.BareMode = verifyCA, verifyCA
		k.Notes = append(k.Notes, "dbops.yaml does not ask for verify-full here, so no name is verified: whoever has a certificate of the same CA passes")
		return
	}
	dns := s.Names
	if s.CommonName {
		dns = s.Names[1:]
	}
	for _, name := range dns {
		if seen == nil && !s.CommonName || seen != nil && seen.Chain[0].VerifyHostname(name) == nil {
			k.Host, k.Bare = name, name
			return
		}
	}
	if !s.CommonName {
		k.Mode, k.BareMode = verifyCA, verifyCA
		k.Notes = append(k.Notes, "WEAKER: no name of the server's certificate is known, so only its CA is verified, which signs others, too")
		return
	}
	k.BareMode = verifyCA
	if net.ParseIP(host) == nil { // libpq takes no name for hostaddr
		k.Mode = verifyCA
		k.Notes = append(k.Notes, ownCANote)
		return
	}
	k.Host, k.HostAddr = s.Names[0], host
	k.Notes = append(k.Notes, "the server's certificate bears the instance's name, "+s.Names[0]+", and no DNS name: libpq verifies it in full with host and hostaddr")
}

// ownCANote says why verify-ca is enough for an instance with a CA of its own.
const ownCANote = "verify-ca, because the certificate bears no name that this tool could verify; the CA signs this instance and no other, so it is as good"

// Write makes the files of a kit that hold no secret. All are there in the end, or those from before: none is half written. A folder that
// others can write to is refused. Files that dbops did not write are not overwritten; entries of others in pg_service.conf stay.
func (k *Kit) Write() ([]string, error) {
	if why := exposedAt(k.Dir); why != "" {
		return nil, fault.Newf(fault.Failed, "write to "+k.Dir, "others could put CAs of theirs there: %s", why).
			Hint("nothing was written; name a folder that this user, and nobody else, can write to: --dir")
	}
	if all := strangers(k.Dir, k.Service); len(all) > 0 {
		return nil, fault.Newf(fault.Failed, "write to "+k.Dir, "there are files that dbops did not write, and does not overwrite: %s", strings.Join(all, "; ")).
			Hint("nothing was written; name another folder with --dir, or move them away")
	}
	services, _ := readOwn(k.Path(FileService)) // what forbids it was told
	files := map[string][]byte{FileService: []byte(mergeService(services, k.Service, k.serviceEntry()))}
	if len(k.Certs) > 0 {
		trust, err := trustStore(k.Certs)
		if err != nil {
			return nil, fault.New(fault.Internal, "make "+FileTrust, err)
		}
		files[FileRoots], files[FileTrust] = bundle.Encode(k.Certs), trust
	}
	return writeAll(k.Dir, files, 0o644)
}

// Path is where a file of the kit is.
func (k *Kit) Path(name string) string { return filepath.Join(k.Dir, name) }

// rootCert is what libpq is told.
func (k *Kit) rootCert() string {
	if len(k.Certs) == 0 {
		return systemRoots
	}
	return k.Path(FileRoots)
}

// libpq are the keywords of a connection, in order.
func (k *Kit) libpq() [][2]string {
	all := [][2]string{{"host", k.Host}, {"hostaddr", k.HostAddr}, {"port", k.Port}, {"dbname", k.Database}, {"user", k.User}, {"sslmode", k.Mode}, {"sslrootcert", k.rootCert()}}
	if k.HasClient {
		all = append(all, [2]string{"sslcert", k.Path(FileCert)}, [2]string{"sslkey", k.Path(FileKey)})
	}
	return slices.DeleteFunc(all, func(kv [2]string) bool { return kv[1] == "" })
}

func (k *Kit) serviceEntry() string {
	var b strings.Builder
	fmt.Fprintf(&b, mark+"; used with PGSERVICEFILE=%s\n[%s]\n", k.Path(FileService), k.Service)
	for _, kv := range k.libpq() {
		fmt.Fprintf(&b, "%s=%s\n", kv[0], kv[1])
	}
	return b.String()
}
