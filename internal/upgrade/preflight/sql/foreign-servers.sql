SELECT format('%I', s.srvname),
       'of ' || quote_ident(w.fdwname) || coalesce((
         SELECT ', ' || count(*) || ' user mappings, of which ' || count(*) FILTER (WHERE m.umoptions IS NULL) || ' without options that can be seen'
         FROM pg_user_mappings m WHERE m.srvid = s.oid HAVING count(*) > 0), '')
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
