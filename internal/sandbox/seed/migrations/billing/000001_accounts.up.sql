CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

CREATE SCHEMA billing;
COMMENT ON SCHEMA billing IS 'Subscriptions and what is owed for them';

CREATE DOMAIN billing.cents AS bigint CHECK (value >= 0);
CREATE DOMAIN billing.vat_id AS text CHECK (value ~ '^[A-Z]{2}[A-Z0-9]{2,12}$');

CREATE TABLE billing.accounts (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    vat_id     billing.vat_id UNIQUE,
    currency   character(3) NOT NULL DEFAULT 'EUR',
    closed     boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE billing.accounts IS 'Who gets the invoice';
