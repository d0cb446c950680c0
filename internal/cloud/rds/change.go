package rds

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// The changes, as a receipt names them.
const (
	changeModify   = "modify"
	changeFailover = "failover"
	changeBackup   = "backup"
	changeRestore  = "restore"
	changeRename   = "rename"
	changeDelete   = "delete"
	changeCA       = "rotate-ca"
)

// once is for what is not asked again: what may be left out, and what changes something, where an answer that was lost leaves open
// whether RDS did it.
func once(o *sdk.Options) { o.RetryMaxAttempts = 1 }

// want is how [Provider.Progress] knows that a change has happened.
type want struct {
	Nothing bool `json:"nothing,omitempty"` // it was so already

	// Of a modification.
	When     cloud.When      `json:"when,omitempty"`
	Settings *cloud.Settings `json:"settings,omitempty"`

	// Of a change of CA.
	CA     string       `json:"ca,omitempty"`
	CAWhen cloud.CAWhen `json:"ca_when,omitempty"`

	// Of an upgrade: the version. When it is made is above.
	Version string `json:"version,omitempty"`

	// Of a failover: the zone that becomes the primary's, and the latest event about a failover before.
	Zone   string    `json:"zone,omitempty"`
	Before time.Time `json:"before,omitzero"`

	// Of a rename: the old name. Of a rename and a removal: which instance it is, whatever its name.
	From     string `json:"from,omitempty"`
	Resource string `json:"resource,omitempty"`
}

// receipt is for a change that RDS has just accepted.
func receipt(change, instance string, answer middleware.Metadata, w want) (cloud.Receipt, error) {
	b, err := json.Marshal(w)
	if err != nil {
		return cloud.Receipt{}, err
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(answer)
	return cloud.Receipt{Change: change, RequestID: id, Instance: instance, At: time.Now().UTC(), Want: b}, nil
}

// refused is the error that a request for a change ended in.
func (p *Provider) refused(ctx context.Context, op string, err error) error {
	return cloud.LeftOpen(p.aws.Fault(ctx, op, err))
}

// unsupported refuses what RDS has nothing for.
func unsupported(op, why, hint string) error {
	return fault.New(fault.Invalid, op, cloud.Because(why, errors.Join(errors.New(why), cloud.ErrUnsupported))).Hint("%s", hint)
}
