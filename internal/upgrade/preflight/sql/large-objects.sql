SELECT quote_ident(pg_get_userbyid(lomowner)), count(*) || ' large objects' FROM pg_largeobject_metadata GROUP BY lomowner
