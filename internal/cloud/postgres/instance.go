package postgres

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
)

// description is what a server told; it is the Raw of the instance.
type description struct {
	Version        string    `json:"server_version"`
	VersionNum     int       `json:"server_version_num,omitempty"`
	Role           string    `json:"role,omitempty"` // primary or standby
	Started        time.Time `json:"started,omitzero"`
	Connections    int       `json:"connections,omitempty"` // client and background, of all databases
	MaxConnections int       `json:"max_connections,omitempty"`
	WALLevel       string    `json:"wal_level,omitempty"`
	ArchiveMode    string    `json:"archive_mode,omitempty"`
	DataChecksums  string    `json:"data_checksums,omitempty"`
	Encryption     encrypted `json:"tls,omitzero"`
}

// encrypted is the TLS of the connection that asked; zero without.
type encrypted struct {
	Version string    `json:"version,omitempty"`
	Cipher  string    `json:"cipher,omitempty"`
	Issuer  string    `json:"issuer,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // of the server certificate
}

func encryption(conn net.Conn) encrypted {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return encrypted{}
	}
	s := c.ConnectionState()
	e := encrypted{Version: tls.VersionName(s.Version), Cipher: tls.CipherSuiteName(s.CipherSuite)}
	if len(s.PeerCertificates) > 0 {
		e.Issuer = s.PeerCertificates[0].Issuer.String()
		e.Expires = s.PeerCertificates[0].NotAfter.UTC()
	}
	return e
}

// instance is d in the words of the model. A plain server has no class, no zones, no provider's backups.
func (d description) instance(name string, cfg *pgconn.Config) *cloud.Instance {
	major := d.VersionNum / 10000
	if major == 0 {
		major = cloud.Major(d.Version)
	}
	return &cloud.Instance{
		Provider:      cloud.Postgres,
		Name:          name,
		EngineVersion: d.Version,
		Major:         major,
		State:         cloud.Available,
		RawState:      d.Role,
		Endpoints:     []cloud.Endpoint{endpoint(cfg)},
		TLS:           cloud.TLS{Mode: sslmode(cfg.TLSConfig), CA: d.Encryption.Issuer, Expires: d.Encryption.Expires},
		Raw:           cloud.Raw(d),

		MaxConnections: d.MaxConnections,
		Connections:    d.Connections,
	}
}

// sslmode is the sslmode that pgconn made c from.
func sslmode(c *tls.Config) string {
	switch {
	case c == nil:
		return "disable"
	case !c.InsecureSkipVerify:
		return "verify-full"
	case c.VerifyPeerCertificate != nil || c.VerifyConnection != nil:
		return "verify-ca"
	}
	return "require"
}
