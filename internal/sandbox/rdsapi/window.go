package rdsapi

import (
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// keepWindows applies what is pending when an instance's maintenance window opens. Windows are weekly and in UTC, whatever
// the pace.
func (a *API) keepWindows() {
	t := time.NewTicker(30 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-a.life.Done():
			return
		case <-t.C:
			a.Maintain()
		}
	}
}

// Maintain begins the pending modifications of the instances whose maintenance window is open. It runs by itself, too.
func (a *API) Maintain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, in := range a.state.Instances {
		apply := clone(*in.DB.PendingModifiedValues)
		if in.RotateAtReboot {
			apply.CACertificateIdentifier = nil
		}
		if in.Work == nil && in.status() == "available" && !sameValues(apply, types.PendingModifiedValues{}) &&
			open(value(in.DB.PreferredMaintenanceWindow), a.now()) {
			a.begin(in, "ModifyDBInstance", modification(in, apply))
		}
	}
}

// open tells whether now is inside a weekly window such as "sun:23:45-mon:00:15" (UTC).
func open(window string, now time.Time) bool {
	from, to, ok := strings.Cut(window, "-")
	begin, okBegin := minute(from)
	end, okEnd := minute(to)
	if !ok || !okBegin || !okEnd {
		return false
	}
	now = now.UTC()
	at := int(now.Weekday())*24*60 + now.Hour()*60 + now.Minute()
	if begin <= end {
		return begin <= at && at < end
	}
	return begin <= at || at < end
}

// minute is the minute of the week, from Sunday, of a time such as "mon:04:30".
func minute(s string) (int, bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	d := strings.Index("sunmontuewedthufrisat", parts[0])
	h, err := strconv.Atoi(parts[1])
	m, err2 := strconv.Atoi(parts[2])
	if len(parts[0]) != 3 || d < 0 || d%3 != 0 || err != nil || err2 != nil {
		return 0, false
	}
	return (d/3*24+h)*60 + m, true
}
