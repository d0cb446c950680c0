SELECT format('%I', slot_name),
       concat_ws(', ', slot_type, plugin, 'database ' || database, CASE WHEN active THEN 'in use' ELSE 'not in use' END)
FROM pg_replication_slots
WHERE NOT temporary
