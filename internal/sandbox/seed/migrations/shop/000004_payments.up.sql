CREATE TABLE shop.payments (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id     bigint NOT NULL REFERENCES shop.orders,
    method       text NOT NULL CHECK (method IN ('card', 'invoice', 'transfer', 'voucher')),
    amount_cents integer NOT NULL CHECK (amount_cents >= 0),
    captured_at  timestamptz,
    refunded_at  timestamptz,
    CHECK (refunded_at IS NULL OR refunded_at >= captured_at)
);
COMMENT ON TABLE shop.payments IS 'What the payment provider told us';

CREATE INDEX payments_order ON shop.payments (order_id);
CREATE INDEX payments_uncaptured ON shop.payments (order_id) WHERE captured_at IS NULL;
