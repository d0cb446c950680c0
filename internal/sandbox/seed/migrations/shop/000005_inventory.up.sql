CREATE SCHEMA inventory;
COMMENT ON SCHEMA inventory IS 'What lies in which warehouse';

CREATE TABLE inventory.warehouses (
    code    character(3) PRIMARY KEY,
    city    text NOT NULL,
    country character(2) NOT NULL
);

CREATE TABLE inventory.stock (
    warehouse  character(3) NOT NULL REFERENCES inventory.warehouses,
    product_id bigint NOT NULL REFERENCES shop.products,
    quantity   integer NOT NULL CHECK (quantity >= 0),
    reserved   integer NOT NULL DEFAULT 0,
    PRIMARY KEY (warehouse, product_id),
    CHECK (reserved BETWEEN 0 AND quantity)
);

CREATE TABLE inventory.movements (
    id         bigserial PRIMARY KEY,
    warehouse  character(3) NOT NULL,
    product_id bigint NOT NULL,
    change     integer NOT NULL CHECK (change <> 0),
    reason     text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (warehouse, product_id) REFERENCES inventory.stock
);
COMMENT ON TABLE inventory.movements IS 'Every change of stock; rows are never changed';

CREATE INDEX movements_at ON inventory.movements USING brin (at);
