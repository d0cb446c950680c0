package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/cloud"
)

// Upgrades is what is known of the upgrades of an instance.
type Upgrades interface {
	// Upgrading is how they stand, by the journal; it asks no provider.
	Upgrading(ctx context.Context, env, instance string) (app.Upgrading, error)
	// UpgradeOffers are the majors that the cloud offers the instance; none of a plain server.
	UpgradeOffers(ctx context.Context, env, instance string) ([]cloud.Offer, error)
	// SaveUpgradeReport writes a report to a file, whose name says in which format: .html, .json, or else Markdown.
	SaveUpgradeReport(ctx context.Context, run, file string) error
}
