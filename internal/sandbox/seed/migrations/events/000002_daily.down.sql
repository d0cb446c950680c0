DROP TABLE events.inbox;
DROP MATERIALIZED VIEW events.daily;
