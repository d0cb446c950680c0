SELECT i.indexrelid::regclass::text, 'on ' || i.indrelid::regclass
FROM pg_index i WHERE (NOT i.indisvalid OR NOT i.indisready) AND i.indexrelid >= 16384
