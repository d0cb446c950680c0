SELECT v.object, 'reads ' || substring(v.body FROM '\mpg_[a-z_]+\M')
FROM (SELECT c.oid::regclass::text AS object, pg_get_viewdef(c.oid) AS body
      FROM pg_class c
      WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
      OFFSET 0) v -- the text is made once for each view
WHERE v.body ~ '\mpg_[a-z_]+\M'
