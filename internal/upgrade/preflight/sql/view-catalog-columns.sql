-- Dependencies on the catalogues themselves are not recorded, so this one reads the text.
SELECT v.object, format('%s went with %s', gone.col, gone.major)
FROM (SELECT c.oid::regclass::text AS object, pg_get_viewdef(c.oid) AS body
      FROM pg_class c
      WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
      OFFSET 0 -- the text is made once for each view
     ) v,
     (VALUES
       ('relhasoids', 12), ('consrc', 12), ('adsrc', 12), ('datlastsysoid', 15), ('pg_start_backup', 15),
       ('pg_stop_backup', 15), ('pg_is_in_backup', 15), ('pg_backup_start_time', 15), ('daticulocale', 17),
       ('colliculocale', 17), ('attcacheoff', 18)
     ) AS gone(col, major)
WHERE gone.major <= $1::int AND gone.major > current_setting('server_version_num')::int / 10000
  AND v.body ~ ('\m' || gone.col || '\M') AND v.body ~ '\mpg_[a-z]'
