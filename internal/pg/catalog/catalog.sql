with ns as materialized (
 select oid, quote_ident(nspname) as s, nspname from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
), ext as materialized (
 select classid, objid from pg_catalog.pg_depend where deptype = 'e' and refclassid = 'pg_catalog.pg_extension'::regclass
), every as materialized (
 select c.*, ns.s, ns.s || '.' || quote_ident(c.relname) as name
 from pg_catalog.pg_class c join ns on ns.oid = c.relnamespace
 where not exists (select 1 from ext where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid)
), own as materialized (
 select oid from every where name = any ($without$)
), rel as materialized (
 select e.*, case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' when 'S' then 'sequence' else 'table' end as kind
 from every e where relkind in ('r', 'p', 'v', 'm', 'f', 'c', 'S') and not exists (select 1 from own where own.oid = e.oid)
 and not exists (select 1 from pg_catalog.pg_depend d join own on own.oid = d.refobjid and d.refclassid = 'pg_catalog.pg_class'::regclass
  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = e.oid and d.deptype in ('a', 'i'))
), fn as materialized (
 select p.*, ns.s || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' as name
 from pg_catalog.pg_proc p join ns on ns.oid = p.pronamespace
 where not exists (select 1 from ext where classid = 'pg_catalog.pg_proc'::regclass and objid = p.oid)
), ty as materialized (
 select t.*, ns.s || '.' || quote_ident(t.typname) as name
 from pg_catalog.pg_type t join ns on ns.oid = t.typnamespace
 where not exists (select 1 from ext where classid = 'pg_catalog.pg_type'::regclass and objid = t.oid)
), acl as (
 select what, string_agg(who || ': ' || may, '; ' order by who) as def from (
  select what, case when a.grantee = 0 then 'public' else quote_ident(coalesce(r.rolname, a.grantee::text)) end as who,
   string_agg(lower(a.privilege_type) || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type) as may
  from (
   select case when relkind = 'S' then 'sequence ' else 'table ' end || name as what, relowner as owner, relacl as acl from rel where relacl is not null and relkind <> 'c'
   union all select 'column ' || rel.name || '.' || quote_ident(attname), relowner, attacl from pg_catalog.pg_attribute join rel on rel.oid = attrelid where attacl is not null and not attisdropped
   union all select 'function ' || name, proowner, proacl from fn where proacl is not null
   union all select 'type ' || name, typowner, typacl from ty where typacl is not null
   union all select 'schema ' || quote_ident(n.nspname), n.nspowner, n.nspacl from pg_catalog.pg_namespace n join ns using (oid) where n.nspacl is not null and n.nspname not in ('public', 'dbops')
  ) o, aclexplode(o.acl) a left join pg_catalog.pg_roles r on r.oid = a.grantee
  where a.grantee <> o.owner group by 1, 2
 ) x group by 1
)
select kind, name, coalesce("on", ''), case when length(def) > 400 then left(def, 60) || '... sum ' || md5(def) else def end from (
 select 'schema' as kind, s as name, null as "on", '' as def from ns
 where nspname <> 'dbops' and not exists (select 1 from ext where classid = 'pg_catalog.pg_namespace'::regclass and objid = ns.oid)

 union all select 'extension', quote_ident(extname), null, 'in schema ' || quote_ident(n.nspname)
 from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where extname <> 'plpgsql'

 union all select kind, name, null, concat_ws(', ',
  case relpersistence when 'u' then 'unlogged' end,
  'partitioned by ' || pg_get_partkeydef(rel.oid),
  case when relispartition then (select 'partition of ' || p.inhparent::regclass::text || ' ' || pg_get_expr(rel.relpartbound, rel.oid) from pg_catalog.pg_inherits p where p.inhrelid = rel.oid)
   else (select 'inherits ' || string_agg(p.inhparent::regclass::text, ', ' order by p.inhseqno) from pg_catalog.pg_inherits p where p.inhrelid = rel.oid) end,
  case when reloftype <> 0 then 'of ' || format_type(reloftype, null) end,
  case when relrowsecurity then 'row level security' end, case when relforcerowsecurity then 'forced row level security' end,
  case when relkind in ('r', 'p', 'm') then (select nullif('access method ' || quote_ident(amname), 'access method heap') from pg_catalog.pg_am where pg_am.oid = relam) end,
  case relreplident when 'f' then 'replica identity full' when 'n' then case when relkind in ('r', 'p') then 'replica identity nothing' end when 'i' then 'replica identity index' end,
  case when reloptions is not null then 'with (' || (select string_agg(o, ', ' order by o collate "C") from unnest(reloptions) o) || ')' end,
  (select 'server ' || quote_ident(srvname) || ' ' || md5(coalesce((select string_agg(o, ',' order by o collate "C") from unnest(ftoptions) o), '')) from pg_catalog.pg_foreign_table f join pg_catalog.pg_foreign_server on pg_foreign_server.oid = ftserver where ftrelid = rel.oid),
  case when relkind in ('v', 'm') then 'as ' || pg_get_viewdef(rel.oid) end)
 from rel where relkind in ('r', 'p', 'v', 'm', 'f')

 union all select case when relkind = 'c' then 'attribute' else 'column' end, rel.name || '.' || quote_ident(a.attname), case when relkind <> 'c' then rel.name end, concat_ws(' ',
  format_type(a.atttypid, a.atttypmod),
  case when a.attcollation <> t.typcollation and a.attcollation <> 0 then (select 'collate ' || quote_ident(collname) from pg_catalog.pg_collation where oid = a.attcollation) end,
  case when a.attnotnull then 'not null' end,
  case a.attidentity when 'a' then 'generated always as identity' when 'd' then 'generated by default as identity' end,
  case a.attgenerated when 's' then 'generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ') stored' when 'v' then 'generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ') virtual'
   else 'default ' || pg_get_expr(d.adbin, d.adrelid) end,
  case when a.attstorage <> t.typstorage then 'storage ' || case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end end,
  case a.attcompression when 'p' then 'compression pglz' when 'l' then 'compression lz4' end,
  case when a.attstattarget >= 0 and relkind <> 'c' then 'statistics ' || a.attstattarget end,
  'with (' || array_to_string(a.attoptions, ', ') || ')')
 from rel join pg_catalog.pg_attribute a on a.attrelid = rel.oid join pg_catalog.pg_type t on t.oid = a.atttypid
 left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attnum > 0 and not a.attisdropped and relkind in ('r', 'p', 'f', 'c')

 union all select 'index', i.s || '.' || quote_ident(i.relname), rel.name,
  regexp_replace(pg_get_indexdef(i.oid), '^CREATE (UNIQUE )?INDEX \S+ ON (ONLY )?\S+ ', '\1\2', '') || concat_ws(', ', '', case when not x.indisvalid then 'INVALID' end,
   case when x.indisclustered then 'clustered' end, case when x.indisreplident then 'replica identity' end,
   (select 'part of ' || h.inhparent::regclass::text from pg_catalog.pg_inherits h where h.inhrelid = i.oid))
 from every i join pg_catalog.pg_index x on x.indexrelid = i.oid join rel on rel.oid = x.indrelid
 where not exists (select 1 from pg_catalog.pg_constraint k where k.conindid = i.oid and k.contype in ('p', 'u', 'x'))

 union all select 'constraint', rel.name || '.' || quote_ident(k.conname), rel.name, pg_get_constraintdef(k.oid)
  || case when x.indexrelid is not null and not x.indisvalid then ', INVALID' else '' end || case when x.indisreplident then ', replica identity' else '' end || case when x.indisclustered then ', clustered' else '' end
 from rel join pg_catalog.pg_constraint k on k.conrelid = rel.oid left join pg_catalog.pg_index x on x.indexrelid = k.conindid and k.contype in ('p', 'u', 'x')
 where (k.contype in ('p', 'u', 'x', 'c', 'f') or k.contype = 'n' and not k.convalidated)
 -- a foreign key to a partitioned table has one to each partition under it, with a name that the server made up
 and not exists (select 1 from pg_catalog.pg_constraint parent where parent.oid = k.conparentid and parent.conrelid = k.conrelid)

 union all select 'domain constraint', ty.name || '.' || quote_ident(k.conname), null, pg_get_constraintdef(k.oid)
 from ty join pg_catalog.pg_constraint k on k.contypid = ty.oid where k.contype = 'c'

 union all select 'trigger', rel.name || '.' || quote_ident(t.tgname), rel.name,
  pg_get_triggerdef(t.oid) || case t.tgenabled when 'D' then ', disabled' when 'R' then ', enabled on replicas' when 'A' then ', always enabled' else '' end
 from rel join pg_catalog.pg_trigger t on t.tgrelid = rel.oid where not t.tgisinternal

 union all select 'rule', rel.name || '.' || quote_ident(r.rulename), rel.name, pg_get_ruledef(r.oid) || case r.ev_enabled when 'O' then '' else ', enabled ' || r.ev_enabled::text end
 from rel join pg_catalog.pg_rewrite r on r.ev_class = rel.oid where r.rulename <> '_RETURN'

 union all select 'policy', rel.name || '.' || quote_ident(p.polname), rel.name, concat_ws(' ',
  case when not p.polpermissive then 'restrictive' end, case p.polcmd when 'r' then 'for select' when 'a' then 'for insert' when 'w' then 'for update' when 'd' then 'for delete' else 'for all' end,
  'to ' || (select string_agg(case when o = 0 then 'public' else o::regrole::text end, ', ' order by case when o = 0 then 'public' else o::regrole::text end) from unnest(p.polroles) o),
  'using (' || pg_get_expr(p.polqual, p.polrelid) || ')', 'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
 from rel join pg_catalog.pg_policy p on p.polrelid = rel.oid

 union all select case prokind when 'p' then 'procedure' else 'function' end, name, null, pg_get_functiondef(fn.oid) from fn where prokind <> 'a'

 union all select 'aggregate', fn.name, null, concat_ws(' ', aggtransfn::text, aggtranstype::regtype::text, nullif(aggfinalfn::text, '-'), nullif(aggcombinefn::text, '-'), agginitval)
 from fn join pg_catalog.pg_aggregate g on g.aggfnoid = fn.oid

 union all select 'enum', ty.name, null, (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = ty.oid) from ty where typtype = 'e'

 union all select 'domain', ty.name, null, format_type(typbasetype, typtypmod) || case when typnotnull then ' not null' else '' end || coalesce(' default ' || typdefault, '') from ty where typtype = 'd'

 union all select 'composite type', rel.name, null, '' from rel where relkind = 'c'

 union all select 'range type', ty.name, null, format_type(r.rngsubtype, null) || coalesce(' ' || nullif(r.rngcanonical::text, '-'), '') || coalesce(' ' || nullif(r.rngsubdiff::text, '-'), '')
 from ty join pg_catalog.pg_range r on r.rngtypid = ty.oid

 union all select 'sequence', rel.name, null, concat_ws(' ', format_type(q.seqtypid, null), 'start', q.seqstart, 'increment', q.seqincrement, 'min', q.seqmin, 'max', q.seqmax, 'cache', q.seqcache, case when q.seqcycle then 'cycle' end,
  (select 'of ' || d.refobjid::regclass::text || '.' || quote_ident(a.attname) from pg_catalog.pg_depend d join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
   where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = rel.oid and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i')))
 from rel join pg_catalog.pg_sequence q on q.seqrelid = rel.oid

 union all select 'publication', quote_ident(pubname), null, concat_ws(' ', case when puballtables then 'all tables' end, case when pubinsert then 'insert' end, case when pubupdate then 'update' end,
  case when pubdelete then 'delete' end, case when pubtruncate then 'truncate' end, case when pubviaroot then 'via root' end,
  (select string_agg(r.prrelid::regclass::text, ', ' order by r.prrelid::regclass::text) from pg_catalog.pg_publication_rel r where r.prpubid = p.oid)) from pg_catalog.pg_publication p

 union all select 'statistics', ns.s || '.' || quote_ident(stxname), rel.name, pg_get_statisticsobjdef(x.oid) from pg_catalog.pg_statistic_ext x join ns on ns.oid = x.stxnamespace join rel on rel.oid = x.stxrelid

 union all select 'event trigger', quote_ident(evtname), null, concat_ws(' ', evtevent, evtfoid::regproc::text, evtenabled::text, array_to_string(evttags, ', ')) from pg_catalog.pg_event_trigger v
 where not exists (select 1 from ext where classid = 'pg_catalog.pg_event_trigger'::regclass and objid = v.oid) and exists (select 1 from fn where fn.oid = v.evtfoid)

 union all select 'collation', ns.s || '.' || quote_ident(collname), null, concat_ws(' ', collprovider::text, collisdeterministic::text) from pg_catalog.pg_collation c join ns on ns.oid = c.collnamespace
 where not exists (select 1 from ext where classid = 'pg_catalog.pg_collation'::regclass and objid = c.oid)

 union all select 'operator', o.oid::regoperator::text, null, o.oprcode::regproc::text from pg_catalog.pg_operator o join ns on ns.oid = o.oprnamespace
 where not exists (select 1 from ext where classid = 'pg_catalog.pg_operator'::regclass and objid = o.oid)

 union all select 'cast', c.castsource::regtype::text || ' as ' || c.casttarget::regtype::text, null, concat_ws(' ', c.castcontext::text, c.castmethod::text, nullif(c.castfunc, 0)::regprocedure::text)
 from pg_catalog.pg_cast c where c.oid >= 16384 and not exists (select 1 from ext where classid = 'pg_catalog.pg_cast'::regclass and objid = c.oid)

 union all select 'text search configuration', ns.s || '.' || quote_ident(cfgname), null, (select string_agg(m.maptokentype || ' ' || m.mapdict::regdictionary::text, ', ' order by m.maptokentype, m.mapseqno) from pg_catalog.pg_ts_config_map m where m.mapcfg = c.oid)
 from pg_catalog.pg_ts_config c join ns on ns.oid = c.cfgnamespace where not exists (select 1 from ext where classid = 'pg_catalog.pg_ts_config'::regclass and objid = c.oid)

 union all select 'foreign server', quote_ident(srvname), null, quote_ident(fdwname) || ' ' || md5(coalesce((select string_agg(o, ',' order by o collate "C") from unnest(srvoptions) o), '')) from pg_catalog.pg_foreign_server s join pg_catalog.pg_foreign_data_wrapper w on w.oid = s.srvfdw

 union all select 'comment', regexp_replace(i.type, '^(table|view|materialized view|foreign table) column$', 'column') || ' ' || i.identity, null, quote_literal(d.description)
 from pg_catalog.pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
 where d.objoid >= 16384 and i.identity is not null and d.classoid <> 'pg_catalog.pg_extension'::regclass
 and not exists (select 1 from ext where ext.classid = d.classoid and ext.objid = d.objoid)
 and not exists (select 1 from own where own.oid = d.objoid and d.classoid = 'pg_catalog.pg_class'::regclass)

 union all select 'privileges', what, null, def from acl

 union all select 'privileges', 'function ' || name, null, 'nobody but its owner' from fn
 where proacl is not null and not exists (select 1 from aclexplode(proacl) a where a.grantee <> proowner)

 union all select 'privileges', concat_ws(' ', 'new', case defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas' else 'objects' end, 'of', defaclrole::regrole::text,
  'in schema ' || nullif(defaclnamespace, 0)::regnamespace::text), null, array(select i from unnest(defaclacl::text[]) i order by i)::text from pg_catalog.pg_default_acl
) all_objects
