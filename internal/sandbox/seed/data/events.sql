-- Believable visits of a web site, the same on every server: nothing here is random or depends on the clock.

INSERT INTO events.sources (name, network) VALUES ('web-1', '10.0.1.0/24'), ('web-2', '10.0.2.0/24'), ('app', NULL);

INSERT INTO events.events (at, source, visitor, kind, path, payload)
SELECT timestamptz '2026-09-01 06:00Z' + i * interval '2 minutes 50 seconds', 1 + i % 3, md5('visitor ' || i / 9)::uuid,
       (ARRAY['view', 'view', 'view', 'click', 'view', 'search', 'view', 'order', 'view', 'view', 'error'])[1 + (i * 13) % 11],
       (ARRAY['/', '/products/', '/search', '/basket', '/account', '/help/'])[1 + (i * 7) % 6] || CASE WHEN (i * 7) % 6 = 1 THEN 'P-' || lpad((i % 1000)::text, 5, '0') ELSE '' END,
       jsonb_build_object('ms', 12 + (i::bigint * 7919) % 900, 'agent', (ARRAY['firefox', 'chrome', 'safari', 'app'])[1 + i % 4])
FROM generate_series(1, 40000) AS i;

REFRESH MATERIALIZED VIEW events.daily;
