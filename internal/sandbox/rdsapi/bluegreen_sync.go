package rdsapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// greenSlot is what keeps one database in sync: a slot and a publication of that name in the source, a subscription in the copy.
type greenSlot struct {
	Database string `json:"database"`
	Name     string `json:"name"`
}

// greenRole is who the copy logs in as.
const greenRole = "rdsrepladmin"

// provisionGreen copies the source as of one moment, upgrades the copy, and lets it follow what is committed after that moment.
func (a *API) provisionGreen(ctx context.Context, d *deployment, blue, green *instance, version string) error {
	from, err := a.server(blue)
	if err != nil {
		return err
	}
	word := secret.New(rand.Text())
	if err := a.publish(ctx, d, from, word); err != nil {
		return err
	}
	id := green.ServerID + ".origin"
	copied, err := a.world.Backup(ctx, blue.ServerID, id)
	if err != nil {
		return err
	}
	defer func() { _ = a.world.RemoveBackup(id) }() // what is left is a folder that nobody needs
	if err := a.certify(green); err != nil {
		return err
	}
	cert, err := green.Leaf.pair()
	if err != nil {
		return err
	}
	spec := a.spec(green)
	settings := spec.Settings
	spec.Settings = nil // they are for the new major
	to, err := a.world.Restore(ctx, copied, time.Time{}, spec, cert)
	if err != nil {
		return err
	}
	if err := a.align(ctx, d, from, to); err != nil {
		return err
	}
	if to, err = a.world.Upgrade(ctx, green.ServerID, major(version), settings); err != nil {
		return err
	}
	if err := a.subscribe(ctx, d, from, to, word); err != nil {
		return err
	}
	if err := a.settle(green, to); err != nil {
		return err
	}
	backup := a.automatedBackup(green)
	if err := backup.do(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	backup.done()
	green.DB.DBInstanceStatus = new("available")
	a.notes(green, []note{{category: "creation", message: "DB instance created"}})
	return nil
}

// on runs statements in a database of a server, also in one that takes no more writes, each by itself: a slot cannot be made after a write.
func on(ctx context.Context, s *world.Server, database string, statements ...string) error {
	c, err := s.DB(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	for _, q := range append([]string{"SET default_transaction_read_only = off"}, statements...) {
		if _, err := c.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func ask[T any](ctx context.Context, s *world.Server, database, sql string, args ...any) ([]T, error) {
	c, err := s.DB(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// publish makes the source hand out all changes from now on.
func (a *API) publish(ctx context.Context, d *deployment, from *world.Server, word secret.Value) error {
	names, err := ask[string](ctx, from, "postgres", "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")
	if err != nil {
		return err
	}
	verifier, err := pg.Verifier(word)
	if err != nil {
		return err
	}
	err = on(ctx, from, "postgres", "DROP ROLE IF EXISTS "+greenRole, "CREATE ROLE "+greenRole+" LOGIN REPLICATION PASSWORD '"+verifier+"'")
	if err != nil {
		return err
	}
	a.mu.Lock()
	base := "rds_bg_" + strings.ReplaceAll(strings.TrimPrefix(value(d.DB.BlueGreenDeploymentIdentifier), "bgd-"), "-", "_")
	for i, name := range names {
		d.Slots = append(d.Slots, greenSlot{Database: name, Name: fmt.Sprintf("%s_%d", base, i)})
	}
	slots := d.Slots
	a.save()
	a.mu.Unlock()
	for _, s := range slots {
		err := on(ctx, from, s.Database, "CREATE PUBLICATION "+quote(s.Name)+" FOR ALL TABLES",
			"SELECT pg_create_logical_replication_slot("+literal(s.Name)+", 'pgoutput')")
		if err != nil {
			return fmt.Errorf("database %s: %w", s.Database, err)
		}
	}
	return nil
}

// align moves the slots to where the copy ends.
func (a *API) align(ctx context.Context, d *deployment, from, to *world.Server) error {
	end, err := ask[string](ctx, to, "postgres", "SELECT pg_last_wal_replay_lsn()::text")
	if err != nil {
		return err
	}
	for _, s := range d.Slots {
		if err := on(ctx, from, s.Database, "SELECT pg_replication_slot_advance("+literal(s.Name)+", "+literal(end[0])+")"); err != nil {
			return err
		}
	}
	return nil
}

// subscribe makes the copy follow. It is asked to report every second, so that a switchover need not wait for it.
func (a *API) subscribe(ctx context.Context, d *deployment, from, to *world.Server, word secret.Value) error {
	host, port, err := net.SplitHostPort(from.Addr())
	if err != nil {
		return err
	}
	if err := on(ctx, to, "postgres", "ALTER SYSTEM SET wal_receiver_status_interval = '1s'", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	for _, s := range d.Slots {
		dsn := fmt.Sprintf("host=%s port=%s user=%s password=%s dbname='%s' sslmode=require", host, port, greenRole, word.Reveal(), strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s.Database))
		err := on(ctx, to, s.Database, "DROP PUBLICATION "+quote(s.Name),
			"CREATE SUBSCRIPTION "+quote(s.Name)+" CONNECTION "+literal(dsn)+" PUBLICATION "+quote(s.Name)+
				" WITH (create_slot = false, slot_name = "+quote(s.Name)+", copy_data = false)")
		if err != nil {
			return fmt.Errorf("database %s: %w", s.Database, err)
		}
	}
	return nil
}

// unsync ends the replication. A member that is gone (nil) has nothing to end.
func (a *API) unsync(ctx context.Context, d *deployment, blue, green *instance) error {
	var errs []error
	for _, s := range d.Slots {
		if to := a.serverOf(green); to != nil {
			found, err := ask[string](ctx, to, s.Database, "SELECT subname FROM pg_subscription WHERE subname = $1", s.Name)
			if err == nil && len(found) > 0 {
				name := quote(s.Name)
				err = on(ctx, to, s.Database, "ALTER SUBSCRIPTION "+name+" DISABLE", "ALTER SUBSCRIPTION "+name+" SET (slot_name = NONE)", "DROP SUBSCRIPTION "+name)
			}
			errs = append(errs, err)
		}
		if from := a.serverOf(blue); from != nil {
			errs = append(errs, on(ctx, from, s.Database, "DROP PUBLICATION IF EXISTS "+quote(s.Name),
				"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = "+literal(s.Name)+" AND active"), a.dropSlot(ctx, from, s))
		}
	}
	if from := a.serverOf(blue); from != nil {
		errs = append(errs, on(ctx, from, "postgres", "DROP ROLE IF EXISTS "+greenRole))
	}
	if to := a.serverOf(green); to != nil {
		errs = append(errs, on(ctx, to, "postgres", "DROP ROLE IF EXISTS "+greenRole))
	}
	return errors.Join(errs...)
}

func (a *API) serverOf(in *instance) *world.Server {
	if in == nil {
		return nil
	}
	return a.world.Server(in.ServerID)
}

// dropSlot waits until nobody uses the slot: a walsender takes a moment to end.
func (a *API) dropSlot(ctx context.Context, from *world.Server, s greenSlot) error {
	return a.until(ctx, 20*time.Second, "slot "+s.Name+" is in use", func() (bool, error) {
		left, err := ask[bool](ctx, from, s.Database, "SELECT active FROM pg_replication_slots WHERE slot_name = $1", s.Name)
		if err != nil || len(left) == 0 {
			return true, err
		}
		if left[0] {
			return false, nil
		}
		return true, on(ctx, from, s.Database, "SELECT pg_drop_replication_slot("+literal(s.Name)+")")
	})
}

// until looks again and again.
func (a *API) until(ctx context.Context, patience time.Duration, what string, ok func() (bool, error)) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-late.C:
			return fmt.Errorf("%s after %s", what, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// switchGreen lets the copy take the place: the source takes no more writes, the copy catches up, and names and addresses change
// hands. Before that, whatever fails leaves the source as it was.
func (a *API) switchGreen(ctx context.Context, d *deployment, blue, green *instance, patience time.Duration) error {
	from, err := a.server(blue)
	if err != nil {
		return err
	}
	to, err := a.server(green)
	if err != nil {
		return err
	}
	err = on(ctx, from, "postgres", "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND usename <> current_user")
	if err == nil {
		err = a.catchUp(ctx, d, from, to, patience)
	}
	if err != nil {
		again := on(context.WithoutCancel(ctx), from, "postgres", "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
		return errors.Join(err, again)
	}
	if err := a.unsync(ctx, d, blue, green); err != nil {
		return err
	}
	if err := on(ctx, to, "postgres", "ALTER SYSTEM RESET wal_receiver_status_interval", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	if err := a.world.Exchange(ctx, blue.ServerID, green.ServerID); err != nil {
		return err
	}
	a.swapNames(blue, green)
	for _, in := range []*instance{blue, green} {
		s, err := a.server(in)
		if err != nil {
			return err
		}
		a.guard(in, s)
		if err := a.rotate(in, value(in.DB.CACertificateIdentifier)); err != nil {
			return err
		}
	}
	return nil
}

// swapNames gives the copy the name and the address of the source.
func (a *API) swapNames(blue, green *instance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name, old := blue.id(), blue.id()+"-old1"
	delete(a.state.Instances, green.id())
	a.state.Instances[name], a.state.Instances[old] = green, blue
	green.DB.DBInstanceIdentifier, green.DB.DBInstanceArn = &name, new(a.arn("db", name))
	blue.DB.DBInstanceIdentifier, blue.DB.DBInstanceArn = &old, new(a.arn("db", old))
	blue.Listen, green.Listen = green.Listen, blue.Listen
	blue.DB.Endpoint, green.DB.Endpoint = green.DB.Endpoint, blue.DB.Endpoint
	a.record(types.SourceTypeDbInstance, name, "Switchover from "+old+" to "+name+" was completed", "notification")
	a.save()
}

// catchUp waits until the copy has all that was committed, and brings the sequences, which are not replicated.
func (a *API) catchUp(ctx context.Context, d *deployment, from, to *world.Server, patience time.Duration) error {
	now, err := ask[string](ctx, from, "postgres", "SELECT pg_current_wal_lsn()::text")
	if err != nil {
		return err
	}
	err = a.until(ctx, patience, "the copy has not caught up", func() (bool, error) {
		behind, err := ask[string](ctx, from, "postgres", "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'rds\\_bg\\_%' AND confirmed_flush_lsn < $1::text::pg_lsn", now[0])
		return len(behind) == 0, err
	})
	if err != nil {
		return err
	}
	const sequences = `SELECT format('SELECT pg_catalog.setval(%L, %s, %L)', quote_ident(schemaname) || '.' || quote_ident(sequencename), last_value, true)
		FROM pg_sequences WHERE last_value IS NOT NULL`
	for _, s := range d.Slots {
		set, err := ask[string](ctx, from, s.Database, sequences)
		if err == nil {
			err = on(ctx, to, s.Database, set...)
		}
		if err != nil {
			return fmt.Errorf("sequences of database %s: %w", s.Database, err)
		}
	}
	return nil
}
