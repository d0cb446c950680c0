-- Columns whose values the follower cannot compare, of tables whose rows it finds by all their columns. $1: also of those that get that for the time.
with recursive ok as (
 select t.oid from pg_type t where t.typtype in ('e', 'r', 'm')
 or exists (select from pg_opclass o join pg_am a on a.oid = o.opcmethod where a.amname in ('btree', 'hash') and o.opcdefault
  and (o.opcintype = t.oid or exists (select from pg_cast k where k.castsource = t.oid and k.casttarget = o.opcintype and k.castmethod = 'b' and k.castcontext = 'i')))
), base as (
 select t.oid as typ, t.oid as base from pg_type t where t.typtype <> 'd'
 union select t.oid, b.base from pg_type t join base b on b.typ = t.typbasetype where t.typtype = 'd'
), part(typ, leaf) as (
 select b.typ, b.base from base b
 union select p.typ, b.base from part p join pg_type t on t.oid = p.leaf join lateral (
  select t.typelem as typ where t.typelem <> 0 and t.typsubscript = 'array_subscript_handler'::regproc
  union all select a.atttypid from pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
 ) i on true join base b on b.typ = i.typ
)
select format('%I.%I.%I %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
 and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')
 and (c.relreplident = 'f' or $1 and (c.relreplident = 'n'
  or c.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indimmediate and i.indisvalid)
  or c.relreplident = 'i' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident and i.indimmediate and i.indisvalid)))
 and exists (select from part p join pg_type t on t.oid = p.leaf where p.typ = a.atttypid and t.typtype <> 'c'
  and not (t.typelem <> 0 and t.typsubscript = 'array_subscript_handler'::regproc) and not exists (select from ok where ok.oid = p.leaf))
order by 1
