CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'Who changed an order, and when';

CREATE TABLE audit.order_changes (
    at       timestamptz NOT NULL DEFAULT now(),
    order_id bigint NOT NULL,
    who      text NOT NULL DEFAULT current_user,
    was      shop.order_status NOT NULL,
    became   shop.order_status NOT NULL
) PARTITION BY RANGE (at);

CREATE TABLE audit.order_changes_2025 PARTITION OF audit.order_changes FOR VALUES FROM ('2025-01-01 00:00Z') TO ('2026-01-01 00:00Z');
CREATE TABLE audit.order_changes_2026 PARTITION OF audit.order_changes FOR VALUES FROM ('2026-01-01 00:00Z') TO ('2027-01-01 00:00Z');
CREATE TABLE audit.order_changes_rest PARTITION OF audit.order_changes DEFAULT;
CREATE INDEX order_changes_order ON audit.order_changes (order_id, at);

CREATE FUNCTION audit.note_order_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO audit.order_changes (order_id, who, was, became) VALUES (old.id, session_user, old.status, new.status);
    RETURN NULL;
END;
$$;

CREATE TRIGGER order_changes AFTER UPDATE OF status ON shop.orders
    FOR EACH ROW WHEN (old.status IS DISTINCT FROM new.status) EXECUTE FUNCTION audit.note_order_change();

CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.updated_at := now();
    RETURN new;
END;
$$;

CREATE TRIGGER touch BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TRIGGER touch BEFORE UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.touch();
