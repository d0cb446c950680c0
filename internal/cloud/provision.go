package cloud

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// ChangeProvision is what the receipt of [Provisioner.Provision] names its change.
const ChangeProvision = "provision"

// Offer is a major version of PostgreSQL that a provider has beyond that of an instance.
type Offer struct {
	Major   int    `json:"major"`
	Version string `json:"version"` // of a new instance: the newest minor, "17.10" (rds); "POSTGRES_17" (cloudsql)
	// InPlace is the newest version of it that the instance itself can be upgraded to in one step; empty: to none.
	InPlace string `json:"in_place,omitempty"`
}

// Provision makes an empty instance of a newer major with the settings of another one.
type Provision struct {
	Source, Target string
	Major          int // newer than the source's
	// Labels are added to the source's. Nothing else may have them: what was made is known by them.
	Labels map[string]string
	// Unprotected leaves deletion protection off.
	Unprotected bool
	// Admin is who logs in with the password. The provider decides it, see [Prospect.Admin]: another name is refused; empty: that one.
	Admin    string
	Password secret.Value
}

// Prospect is what [Provisioner.Provision] would make.
type Prospect struct {
	Version string `json:"version"` // see [Offer.Version]
	Admin   string `json:"admin"`   // who logs in with the password: the source's master user (rds), postgres (cloudsql)
	// Group is the parameter group that is made for it (rds); empty: the provider's default, like the source's.
	Group string `json:"group,omitempty"`
	// Parameters are those that somebody set for the source and that go along, by name.
	Parameters map[string]string `json:"parameters,omitempty"`
	// Lost is what cannot be carried over, and what the new major decides otherwise, in words.
	Lost []string `json:"lost,omitempty"`
}

// Provisioner is a provider that makes the instance of a newer major that a source is upgraded into.
type Provisioner interface {
	Changer

	// Majors lists what the provider offers beyond the major of an instance, the lowest first. It may be called at any time.
	Majors(ctx context.Context, name string) ([]Offer, error)

	// Prospect tells what p would make, and changes nothing; p needs no password for it. A major that is not newer or not offered is a
	// fault.Invalid, and a source that cannot be the model of a new instance one that wraps [ErrUnsupported].
	Prospect(ctx context.Context, p Provision) (Prospect, error)

	// Provision makes the instance; it returns as soon as that is accepted, and [Changer.Progress] tells when it is there. It is not
	// retried after an answer that leaves open whether it was accepted. What it made beside the instance stays until
	// [Provisioner.Discard], also when the instance was refused; asking again with the same labels uses it.
	Provision(ctx context.Context, p Provision) (Receipt, error)

	// Provisioning is the receipt of a provision that was first asked for at since and whose answer was lost. A fault.NotFound says that
	// there is no such instance, so that it can be asked for; a fault.Invalid wrapping [ErrExists] that one of its name is there and is
	// not of that provision.
	Provisioning(ctx context.Context, p Provision, since time.Time) (Receipt, error)

	// Provisioned compares what was made to its source: the settings that are left to ask for, ok if none, and in words what was lost.
	Provisioned(ctx context.Context, p Provision) (left Settings, ok bool, lost []string, err error)

	// Discard removes what Provision made beside the instance, after that was deleted; an instance that still uses it is a fault.Busy.
	// It may be called again, and when nothing was made.
	Discard(ctx context.Context, p Provision) error
}

// Check refuses what no provider can make of a source of some major, given what it offers.
func (p Provision) Check(op string, source int, offered []Offer) (Offer, error) {
	switch {
	case p.Source == "" || p.Target == "":
		return Offer{}, fault.Newf(fault.Invalid, op, "the source or the new instance has no name")
	case p.Source == p.Target:
		return Offer{}, fault.Newf(fault.Invalid, op, "the new instance has the name of its source").Hint("give it another name")
	case len(p.Labels) == 0:
		return Offer{}, fault.Newf(fault.Invalid, op, "there are no labels to know the new instance by")
	case p.Major <= source:
		return Offer{}, fault.Newf(fault.Invalid, op, "PostgreSQL %d is not newer than the %d of %s", p.Major, source, p.Source).
			Hint("%s", p.choices(offered))
	}
	i := slices.IndexFunc(offered, func(m Offer) bool { return m.Major == p.Major })
	if i < 0 {
		return Offer{}, fault.Newf(fault.Invalid, op, "the provider offers no PostgreSQL %d", p.Major).Hint("%s", p.choices(offered))
	}
	return offered[i], nil
}

func (p Provision) choices(offered []Offer) string {
	if len(offered) == 0 {
		return "the provider offers nothing newer for " + p.Source
	}
	words := make([]string, 0, len(offered))
	for _, m := range offered {
		words = append(words, fmt.Sprint(m.Major))
	}
	return "choose one of " + strings.Join(words, ", ")
}

// CheckAdmin refuses an admin login that the new instance will not have.
func (p Provision) CheckAdmin(op, admin string) error {
	if p.Admin != "" && p.Admin != admin {
		return fault.Newf(fault.Invalid, op, "the admin login of the new instance will be %s, not %s", admin, p.Admin).
			Hint("name %s and a password for it", admin)
	}
	return nil
}

// CheckPassword refuses to make an instance that nobody could log in to.
func (p Provision) CheckPassword(op string) error {
	if p.Password.IsZero() {
		return fault.Newf(fault.Invalid, op, "the admin login of the new instance has no password")
	}
	return nil
}

// Restore is the restore that would give its target the same settings, for [Changer.Conform].
func (p Provision) Restore() Restore {
	return Restore{Source: p.Source, Target: p.Target, Labels: p.Labels, Unprotected: p.Unprotected}
}

// SortOffers puts offers into order.
func SortOffers(all map[int]Offer) []Offer {
	return slices.SortedFunc(maps.Values(all), func(a, b Offer) int { return cmp.Compare(a.Major, b.Major) })
}
