SELECT format('%I', t.evtname), t.evtevent || ', runs ' || t.evtfoid::regprocedure
FROM pg_event_trigger t
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
