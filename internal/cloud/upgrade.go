package cloud

import (
	"context"
	"time"
)

// ChangeUpgrade is what the receipt of [Upgrader.Upgrade] names its change.
const ChangeUpgrade = "upgrade"

// UpgradeOptions are the choices of an upgrade in place.
type UpgradeOptions struct {
	// When it is made; empty: [Now]. On rds, Now also applies every other pending modification: see [Instance.Pending].
	When When
	// Parameters is the parameter group of the new major's family (rds). Empty: the default one, where the instance has a default one now;
	// one that somebody made has no counterpart by itself, and the upgrade is refused as a fault.Invalid.
	Parameters string
}

// Upgrader is a provider that makes an instance one of a newer major in place: under its name and address, with its data. The provider
// takes a backup before (rds: where backups are on); there is no way back but to make a new instance of it, and no point-in-time recovery
// reaches back across the upgrade. Sessions end, and for some minutes nobody gets in. Planner statistics are gone afterwards.
type Upgrader interface {
	Changer

	// Upgrade starts an upgrade to the newest version of a major that the provider offers for it. The receipt is followed with
	// [Changer.Progress]; an upgrade that the provider's checks refuse, or that fails, ends there as a fault.Internal with the reason,
	// and the instance is as before. A major that is not newer or not offered is a fault.Invalid.
	//
	// It may be called again, and so after an answer that was lost: where the instance has that major, is being upgraded to it, or waits
	// with it for the window as is wished, nothing is asked for and the receipt follows what is under way. One that failed meanwhile is
	// begun anew. While an upgrade is about to begin, or something else is under way, it is a fault.Busy.
	Upgrade(ctx context.Context, name string, to int, o UpgradeOptions) (Receipt, error)

	// CanUpgrade tells what the provider would refuse, in words, as far as it tells beforehand, and changes nothing. Cloud SQL looks into
	// the databases, which takes minutes: until then the answer is a fault.Busy, and asking again goes on with the same check. RDS knows
	// versions, states and parameter groups only; what its checks find in the databases comes with the upgrade.
	CanUpgrade(ctx context.Context, name string, to int) (problems []string, err error)
}

// Green is a copy of an instance to be: of a newer major, kept in sync until it takes the instance's place.
type Green struct {
	Name       string // of the deployment: the caller's, unique in the account and region
	Source     string
	Major      int
	Parameters string // parameter group of the new family; empty: the default one
	Labels     map[string]string
}

// GreenState is how far a blue/green deployment is.
type GreenState struct {
	ID     string `json:"id"`   // the provider's
	Name   string `json:"name"` // the caller's
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Source is the instance that serves, or served before the switchover; Target the copy. After it they bear other names:
	// Target has the source's, and Source an own one such as NAME-old1.
	Source   string    `json:"source,omitempty"`
	Target   string    `json:"target,omitempty"`
	Ready    bool      `json:"ready"`    // the copy is there and kept in sync: it may be switched over to
	Switched bool      `json:"switched"` // the copy has taken the place
	Failed   string    `json:"failed,omitempty"`
	Created  time.Time `json:"created,omitzero"`
}

// The changes of a blue/green deployment, as a receipt names them. Its instance is the deployment's name.
const (
	ChangeGreen       = "create-green"
	ChangeSwitchover  = "switchover-green"
	ChangeRemoveGreen = "delete-green"
)

// BlueGreen is a provider that upgrades a copy and lets it take the place of the instance (rds). Elsewhere everything is a fault.Invalid
// wrapping [ErrUnsupported]. How far the copy lags behind, the API does not tell: the source's pg_replication_slots do.
type BlueGreen interface {
	// CreateGreen begins a deployment. One of that name for that source is taken for it, so that it may be called again.
	CreateGreen(ctx context.Context, g Green) (Receipt, error)

	// Green describes a deployment by its name. One that is not there is a fault.NotFound.
	Green(ctx context.Context, name string) (GreenState, error)

	// SwitchoverGreen lets the copy take name and address of the source, which becomes read-only and gets another name. If it takes
	// longer than timeout, everything is as before. One that is switched already, or being so, is accepted and asks for nothing.
	SwitchoverGreen(ctx context.Context, name string, timeout time.Duration) (Receipt, error)

	// DeleteGreen ends a deployment, which stops the sync. With the copy, if it has not taken the place; the source always stays. One
	// that is gone is accepted.
	DeleteGreen(ctx context.Context, name string) (Receipt, error)
}
