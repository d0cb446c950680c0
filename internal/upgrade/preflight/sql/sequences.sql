SELECT format('%I.%I', schemaname, sequencename),
       CASE WHEN cycle THEN 'starts again at its end' ELSE 'nearly used up' END || ': at ' || last_value || ' of '
         || CASE WHEN increment_by > 0 THEN min_value || ' to ' || max_value ELSE max_value || ' down to ' || min_value END
FROM pg_sequences
WHERE last_value IS NOT NULL AND (cycle
   OR increment_by > 0 AND (last_value::numeric - min_value) > 0.8 * (max_value::numeric - min_value)
   OR increment_by < 0 AND (max_value::numeric - last_value) > 0.8 * (max_value::numeric - min_value))
