package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"dbops/internal/pg/catalog"
)

// ours is where a copy keeps its notes until it is finished.
const ours = "dbops_upgrade"

func oursNamed(name string) bool {
	return name == ours || strings.HasPrefix(name, ours+".") || strings.HasPrefix(name, "table "+ours+".") || strings.HasPrefix(name, "schema "+ours)
}

func (c *comparison) schema(ctx context.Context) error {
	var a, b *catalog.Catalog
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { a, err = catalog.ReadWithin(gctx, c.from.keep); return err })
	g.Go(func() (err error) { b, err = catalog.ReadWithin(gctx, c.to.keep); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	c.r.Schema = []catalog.Change{}
	for _, d := range catalog.Diff(a, b) {
		if same, err := c.sameView(ctx, d); err != nil {
			return err
		} else if same {
			continue
		}
		switch {
		case oursNamed(d.Name) || oursNamed(d.On):
		case d.Action == catalog.Removed && d.Kind == "index" && strings.HasSuffix(d.Before, "INVALID"):
			c.r.Expected = append(c.r.Expected, "index "+d.Name+" is not valid on the source, and was left out")
		default:
			c.r.Schema = append(c.r.Schema, d)
		}
	}
	return nil
}

// What the bootstrap superuser owns is not recorded, and a cloud's has another name on each server.
const ownersSQL = `select i.type || ' ' || i.identity, pg_catalog.pg_get_userbyid(d.refobjid)
from pg_catalog.pg_shdepend d, pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
where d.dbid = (select oid from pg_catalog.pg_database where datname = current_database()) and d.deptype = 'o'
and d.classid <> 'pg_catalog.pg_largeobject'::regclass and i.identity is not null and i.type not in ('toast table')
and not exists (select from pg_catalog.pg_depend e where e.classid = d.classid and e.objid = d.objid and e.deptype in ('e', 'i'))`

func (c *comparison) owners(ctx context.Context) (err error) {
	c.r.Owners, err = c.both(ctx, ownersSQL, func(d Difference) string {
		if d.Name == "schema public" && (d.Source == "" || d.Target == "") {
			return "schema public belongs to pg_database_owner where it was not changed, since PostgreSQL 15"
		}
		if strings.HasPrefix(d.Name, "extension ") {
			return fmt.Sprintf("%s belongs to %s on the source, and to %s on the target, which made it: nothing gives an extension another owner",
				d.Name, cmp.Or(d.Source, "the server's superuser"), cmp.Or(d.Target, "the server's superuser"))
		}
		return ""
	})
	c.r.Owners = slices.DeleteFunc(c.r.Owners, func(d Difference) bool {
		_, name, _ := strings.Cut(d.Name, " ")
		return strings.Contains(d.Name, " "+ours+".") || oursNamed(name)
	})
	return err
}

func (c *comparison) extensions(ctx context.Context) (err error) {
	c.r.Extensions, err = c.both(ctx, "select extname, extversion from pg_catalog.pg_extension", func(d Difference) string {
		if d.Source != "" && d.Target != "" {
			return fmt.Sprintf("extension %s is %s on the source, and %s on the target", d.Name, d.Source, d.Target)
		}
		return ""
	})
	return err
}

const invalidSQL = `select 'index ' || i.indexrelid::regclass, 'not valid' from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where not (i.indisvalid and i.indisready) and n.nspname !~ '^pg_'
union all select distinct 'constraint ' || k.conname || ' on ' || k.conrelid::regclass, 'not valid' from pg_catalog.pg_constraint k where k.conrelid <> 0 and not k.convalidated
union all select 'domain constraint ' || k.conname || ' on ' || k.contypid::regtype, 'not valid' from pg_catalog.pg_constraint k where k.contypid <> 0 and not k.convalidated
union all select 'materialised view ' || c.oid::regclass, 'not filled' from pg_catalog.pg_class c where c.relkind = 'm' and not c.relispopulated
union all select 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass, 'disabled' from pg_catalog.pg_trigger t where t.tgenabled = 'D' and not t.tgisinternal`

func (c *comparison) invalid(ctx context.Context) (err error) {
	c.r.Invalid, err = c.both(ctx, invalidSQL, func(d Difference) string {
		if strings.HasPrefix(d.Name, "index ") && d.Target == "" {
			return d.Name + " is not valid on the source, and was left out"
		}
		return ""
	})
	slices.Sort(c.r.Expected)
	c.r.Expected = slices.Compact(c.r.Expected)
	return err
}

const namesOfSequences = `select pg_catalog.format('%I.%I', n.nspname, c.relname), '' from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and c.relpersistence <> 't' and n.nspname not in ('` + ours + `')`

// sequences are read as they stand now: no snapshot holds them.
func (c *comparison) sequences(ctx context.Context) error {
	var values [2]map[string]string
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range []*side{c.from, c.to} {
		g.Go(func() (err error) { values[i], err = s.sequences(gctx); return err })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.r.Sequences = append([]Difference{}, differ(values[0], values[1])...)
	return nil
}

func (s *side) sequences(ctx context.Context) (map[string]string, error) {
	names, err := s.pairs(ctx, namesOfSequences)
	if err != nil {
		return nil, err
	}
	var reads []string
	for n := range names {
		reads = append(reads, "select "+literal(n)+", last_value || case when is_called then '' else ', not called yet' end from "+n)
	}
	out := map[string]string{}
	for some := range slices.Chunk(reads, 200) {
		values, err := s.pairs(ctx, strings.Join(some, " union all "))
		if err != nil {
			return nil, err
		}
		for n, v := range values {
			out[n] = v
		}
	}
	return out, nil
}

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
