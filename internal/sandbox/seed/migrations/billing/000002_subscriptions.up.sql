CREATE TABLE billing.plans (
    code        text PRIMARY KEY,
    name        text NOT NULL,
    price_cents billing.cents NOT NULL,
    features    text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE billing.subscriptions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES billing.accounts,
    plan       text NOT NULL REFERENCES billing.plans ON UPDATE CASCADE,
    period     daterange NOT NULL CHECK (NOT isempty(period)),
    EXCLUDE USING gist (account_id WITH =, period WITH &&)
);
COMMENT ON CONSTRAINT subscriptions_account_id_period_excl ON billing.subscriptions IS 'One subscription at a time';
