package app

import (
	"context"
	"path/filepath"
	"strings"

	"dbops/internal/op"
)

// KitsDir is where files for clients are written when nobody says otherwise.
const KitsDir = "certs"

// KitDir is the folder for an instance's files, unless one is named.
func KitDir(dir, env, instance string) string {
	if dir == "" {
		dir = filepath.Join(KitsDir, env+"-"+instance)
	}
	return dir
}

// FetchKit is [App.FetchKit] where files may be written from here.
func (d *Desk) FetchKit(ctx context.Context, r KitRequest) (*Kit, error) {
	if err := d.allowed("write the files for clients to " + r.Dir); err != nil {
		return nil, err
	}
	return d.App.FetchKit(ctx, r)
}

// Alone makes a plan that must not wait for another run on its instance refuse to: that run changes what it was made from, or has a gate of its own,
// for which it would wait for ever.
func Alone(p *op.Plan) {
	for i := range p.Findings {
		if other := &p.Findings[i]; other.Check == "unfinished-run" && other.Severity == op.Warn {
			other.Severity = op.Block
			other.Remedy = "when it has ended, make the plan again: " + other.Remedy[strings.LastIndex(other.Remedy, "dbops "):]
		}
	}
}
