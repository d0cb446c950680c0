CREATE TYPE shop.order_status AS ENUM ('cart', 'placed', 'paid', 'shipped', 'delivered', 'cancelled');

CREATE SEQUENCE shop.order_number START 100000;

CREATE TABLE shop.orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number      text NOT NULL UNIQUE DEFAULT 'SO-' || nextval('shop.order_number'),
    customer_id bigint NOT NULL REFERENCES shop.customers,
    status      shop.order_status NOT NULL DEFAULT 'cart',
    note        text,
    placed_at   timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
ALTER SEQUENCE shop.order_number OWNED BY shop.orders.number;
COMMENT ON COLUMN shop.orders.number IS 'What the customer sees';

CREATE TABLE shop.order_items (
    order_id    bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
    line        smallint NOT NULL,
    product_id  bigint NOT NULL REFERENCES shop.products,
    quantity    integer NOT NULL CHECK (quantity > 0),
    price_cents integer NOT NULL,
    PRIMARY KEY (order_id, line)
);
COMMENT ON COLUMN shop.order_items.price_cents IS 'Of one piece, when it was ordered';

CREATE INDEX orders_customer ON shop.orders (customer_id);
CREATE INDEX orders_open ON shop.orders (placed_at) WHERE status IN ('placed', 'paid');
CREATE INDEX order_items_product ON shop.order_items (product_id);
