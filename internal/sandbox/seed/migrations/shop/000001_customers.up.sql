CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;

CREATE SCHEMA shop;
COMMENT ON SCHEMA shop IS 'What the web shop sells, and to whom';

CREATE TABLE shop.customers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      public.citext NOT NULL UNIQUE,
    name       text NOT NULL CHECK (name <> ''),
    country    character(2) NOT NULL,
    newsletter boolean NOT NULL DEFAULT false,
    tags       text[] NOT NULL DEFAULT '{}',
    profile    jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE shop.customers IS 'Everybody who ever ordered or signed up';
COMMENT ON COLUMN shop.customers.email IS 'Compared without regard to case';
COMMENT ON COLUMN shop.customers.profile IS 'Free-form settings of the web shop; see the front end for the keys';

CREATE INDEX customers_country ON shop.customers (country);
CREATE INDEX customers_newsletter ON shop.customers (created_at) WHERE newsletter;
