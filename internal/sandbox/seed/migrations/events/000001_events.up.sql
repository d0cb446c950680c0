CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

CREATE SCHEMA events;
COMMENT ON SCHEMA events IS 'What visitors did, as the web servers reported it';

CREATE TABLE events.sources (
    id      smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text NOT NULL UNIQUE,
    network inet
);

CREATE TABLE events.events (
    id      bigint GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL,
    source  smallint NOT NULL REFERENCES events.sources,
    visitor uuid NOT NULL,
    kind    text NOT NULL,
    path    text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);

CREATE TABLE events.events_2026_09 PARTITION OF events.events FOR VALUES FROM ('2026-09-01 00:00Z') TO ('2026-10-01 00:00Z');
CREATE TABLE events.events_2026_10 PARTITION OF events.events FOR VALUES FROM ('2026-10-01 00:00Z') TO ('2026-11-01 00:00Z');
CREATE TABLE events.events_2026_11 PARTITION OF events.events FOR VALUES FROM ('2026-11-01 00:00Z') TO ('2026-12-01 00:00Z');
CREATE INDEX events_at ON events.events USING brin (at);
CREATE INDEX events_visitor ON events.events (visitor, at);
CREATE INDEX events_path ON events.events USING gin (path public.gin_trgm_ops);
CREATE INDEX events_errors ON events.events (at) WHERE kind = 'error';
COMMENT ON COLUMN events.events.visitor IS 'A pseudonym that changes every month';
