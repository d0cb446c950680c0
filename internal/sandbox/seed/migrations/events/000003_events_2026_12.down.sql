DROP TABLE events.events_2026_12;
