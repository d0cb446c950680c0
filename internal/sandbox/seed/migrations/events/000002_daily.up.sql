CREATE MATERIALIZED VIEW events.daily AS
SELECT (at AT TIME ZONE 'UTC')::date AS day, kind, count(*) AS events, count(DISTINCT visitor) AS visitors
FROM events.events
GROUP BY 1, 2
WITH NO DATA;
CREATE UNIQUE INDEX daily_key ON events.daily (day, kind);

CREATE UNLOGGED TABLE events.inbox (
    received_at timestamptz NOT NULL DEFAULT now(),
    body        jsonb NOT NULL
);
COMMENT ON TABLE events.inbox IS 'Not sorted in yet; may be lost in a crash';
