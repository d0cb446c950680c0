select n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relreplident::text,
 c.relreplident = 'f'
 or c.relreplident = 'd' and exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indimmediate and i.indisvalid)
 or c.relreplident = 'i' and exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident and i.indimmediate and i.indisvalid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbops_upgrade')
 and (not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')
  or exists (select from pg_extension x where c.oid = any (x.extconfig)))
order by n.nspname collate "C", c.relname collate "C"
