package cloud

import (
	"errors"

	"dbops/internal/fault"
)

// LeftOpen is err, which a request for a change ended in. If it leaves open whether the change was accepted, its hint says so.
func LeftOpen(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Unavailable && f.Kind != fault.Interrupted {
		return err
	}
	what, _ := Unreached(f.Err)
	switch what {
	case NoSuchHost, NoLookup, Refused, NoRoute, WrongName, WrongCA, Expired, TLSFailed: // it was never sent
		return err
	case TimedOut, Cut:
	}
	return f.Hint("it may have been accepted all the same: look at the instance before asking again")
}
