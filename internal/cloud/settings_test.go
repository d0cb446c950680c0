package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"syscall"
	"testing"

	"dbops/internal/fault"
)

func everything() Settings {
	return Settings{
		Availability: new(Regional), BackupsEnabled: new(true), RetentionDays: new(7), Retained: new(8), BackupWindow: new("03:00"),
		PITR: new(true), DeletionProtection: new(true), TLSRequired: new(true), PublicAccess: new(true), IAMLogin: new(true),
		Labels: []Label{{Key: "set", Value: "x"}, {Key: "empty"}, {Key: "gone", Remove: true}}, Class: new("big"),
	}
}

func TestWhatIsMissingIsToldByPath(t *testing.T) {
	t.Parallel()
	s := everything()
	live := &Instance{Labels: map[string]string{"gone": "y"}, Class: "small"}
	want := []Change{
		{"availability", "", "regional"},
		{"backups.enabled", "false", "true"},
		{"backups.retention_days", "0", "7"},
		{"backups.retained", "0", "8"},
		{"backups.window", "", "03:00"},
		{"backups.pitr", "false", "true"},
		{"deletion_protection", "false", "true"},
		{"tls.required", "false", "true"},
		{"public_access", "false", "true"},
		{"iam_login", "false", "true"},
		{"labels.set", "", "x"},
		{"labels.empty", "", ""},
		{"labels.gone", "y", ""},
		{"class", "small", "big"},
	}
	if got := s.Missing(live); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	live = &Instance{
		Availability: Regional, Class: "big", DeletionProtection: true, TLS: TLS{Required: true}, PublicAccess: true, IAMLogin: true,
		Backups: Backups{Enabled: true, RetentionDays: 7, Retained: 8, Window: "03:00", PITR: true},
		Labels:  map[string]string{"set": "x", "empty": "", "other": "z"},
	}
	if got := s.Missing(live); got != nil {
		t.Errorf("missing from what has it all: %v", got)
	}
}

// A field that is added to Settings and forgotten here would never be asked for.
func TestEverySettingIsAWish(t *testing.T) {
	t.Parallel()
	s := everything()
	for v, i := reflect.ValueOf(s), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not tested", v.Type().Field(i).Name)
		}
	}
	if all := s.Part(func(string) bool { return true }); !reflect.DeepEqual(all, s) {
		t.Errorf("got %+v", all)
	}
	if !s.Part(func(string) bool { return false }).Empty() || s.Empty() {
		t.Error("nothing is something, or the other way round")
	}
	part := s.Part(func(setting string) bool { return setting == "class" || setting == "labels.gone" })
	if want := (Settings{Class: s.Class, Labels: s.Labels[2:]}); !reflect.DeepEqual(part, want) {
		t.Errorf("got %+v", part)
	}
}

func TestWhatMayHaveBeenAcceptedIsSaidSo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		open bool
	}{
		{"the connection was cut", fault.New(fault.Unavailable, "op", io.EOF), true},
		{"no answer in time", fault.New(fault.Unavailable, "op", context.DeadlineExceeded), true},
		{"the service had trouble", fault.Newf(fault.Unavailable, "op", "503"), true},
		{"a person did not wait", fault.New(fault.Interrupted, "op", context.Canceled), true},
		{"nobody listens", fault.New(fault.Unavailable, "op", fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})), false},
		{"it was refused", fault.Newf(fault.Invalid, "op", "no"), false},
		{"it is no fault", io.EOF, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := LeftOpen(c.err)
			if !errors.Is(err, c.err) || (fault.HintOf(err) != "") != c.open {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
		})
	}
	if LeftOpen(nil) != nil {
		t.Error("nil became something")
	}
}
