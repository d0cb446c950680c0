package cloud

import (
	"context"
	"time"

	"dbops/internal/secret"
)

// CARole is what a server CA is to an instance.
type CARole string

// The roles of a server CA.
const (
	CAActive   CARole = "active"   // it signed the certificate that the server shows
	CANext     CARole = "next"     // cloudsql: added, and not rotated to yet; rds: the instance will change to it
	CAPrevious CARole = "previous" // cloudsql: it was active before, and can be again
	CAOffered  CARole = "offered"  // rds: the region has it, and the instance may change to it
)

// ServerCA is an authority that signs the certificate of an instance's server, or may.
type ServerCA struct {
	ID          string    `json:"id"` // rds: rds-ca-rsa2048-g1; cloudsql: its fingerprint
	Role        CARole    `json:"role"`
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-1 in hex, by which both clouds name certificates
	PEM         string    `json:"-"`                     // empty on rds, whose API does not hand them out
	From        time.Time `json:"from,omitzero"`
	Until       time.Time `json:"until,omitzero"`
}

// ClientCert is a certificate with which a client proves itself to an instance (cloudsql). Its key is nowhere.
type ClientCert struct {
	ID      string    `json:"id"`   // its fingerprint, SHA-1 in hex
	Name    string    `json:"name"` // unique for the instance
	Serial  string    `json:"serial,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	PEM     string    `json:"-"`
}

// Certificates are what an instance proves itself by, and whose proofs it accepts, as the provider tells.
type Certificates struct {
	Instance *Instance    `json:"-"`
	CAs      []ServerCA   `json:"cas"`               // the active one first, then the next
	Clients  []ClientCert `json:"clients,omitempty"` // by name

	// Names are those that the server's certificate bears: the address (rds), PROJECT:INSTANCE or DNS names (cloudsql).
	Names []string `json:"names,omitempty"`
	// CommonName says that the first of Names is in the subject only, where most clients do not look any more.
	CommonName bool `json:"common_name,omitempty"`

	Default string `json:"default,omitempty"` // rds: the CA of new instances of the account
	// Restarts says that the server restarts to change its certificate (rds). Meaningless on cloudsql.
	Restarts bool `json:"restarts,omitempty"`
	// RestartsUnknown says that nobody told: RDS does not know the engine version any more.
	RestartsUnknown bool `json:"restarts_unknown,omitempty"`
}

// CA returns the CA with that role; nil if there is none.
func (c *Certificates) CA(role CARole) *ServerCA {
	for i := range c.CAs {
		if c.CAs[i].Role == role {
			return &c.CAs[i]
		}
	}
	return nil
}

// Client returns the client certificate of that name or fingerprint; nil if there is none.
func (c *Certificates) Client(word string) *ClientCert {
	for i := range c.Clients {
		if c.Clients[i].Name == word || c.Clients[i].ID == word {
			return &c.Clients[i]
		}
	}
	return nil
}

// CAWhen says when an instance changes to another CA.
type CAWhen string

// The times of a change of CA.
const (
	CANow      CAWhen = "now"       // at once; where the server has to restart for it, it does
	CAInWindow CAWhen = "in_window" // rds: in the maintenance window
	CAAtReboot CAWhen = "at_reboot" // rds: when the instance restarts for whatever reason
)

// Certifier is a provider that manages the certificates of its instances. What only the other cloud has is a fault.Invalid wrapping
// [ErrUnsupported]. Its changes are like those of [Changer]: asked for once, followed by Progress.
type Certifier interface {
	Changer

	// Certificates tells what an instance proves itself by. It may be called at any time.
	Certificates(ctx context.Context, name string) (*Certificates, error)

	// AddCA makes the CA that a later [Certifier.RotateCA] changes to (cloudsql). One that was added before is a fault.Invalid wrapping
	// [ErrExists].
	AddCA(ctx context.Context, name string) (Receipt, error)

	// RotateCA has the server show a certificate of another CA: one of those that [Certifier.Certificates] tells, by its id. Asking for
	// the active one changes nothing, and takes back what waits (rds).
	RotateCA(ctx context.Context, name, id string, when CAWhen) (Receipt, error)

	// CreateClient makes a certificate for a client (cloudsql). Its key, PEM, is in this answer and nowhere else. A name that is taken
	// is a fault.Invalid wrapping [ErrExists].
	CreateClient(ctx context.Context, name, client string) (ClientCert, secret.Value, Receipt, error)

	// DeleteClient makes a client certificate worthless (cloudsql). One that is gone is a fault.NotFound.
	DeleteClient(ctx context.Context, name, id string) (Receipt, error)
}
