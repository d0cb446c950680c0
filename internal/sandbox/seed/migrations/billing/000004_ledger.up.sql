CREATE SCHEMA ledger;
COMMENT ON SCHEMA ledger IS 'Double entry: what is booked adds up to nothing';

CREATE TABLE ledger.transactions (
    id        uuid PRIMARY KEY,
    booked_on date NOT NULL,
    invoice   bigint,
    memo      text NOT NULL DEFAULT ''
);

CREATE TABLE ledger.entries (
    transaction uuid NOT NULL REFERENCES ledger.transactions,
    account     text NOT NULL CHECK (account IN ('receivable', 'revenue', 'vat', 'bank')),
    cents       bigint NOT NULL CHECK (cents <> 0),
    PRIMARY KEY (transaction, account)
);
CREATE INDEX entries_account ON ledger.entries (account) INCLUDE (cents);

CREATE FUNCTION ledger.check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    id uuid := CASE WHEN TG_OP = 'DELETE' THEN old.transaction ELSE new.transaction END;
BEGIN
    IF (SELECT sum(cents) FROM ledger.entries WHERE transaction = id) <> 0 THEN
        RAISE EXCEPTION 'transaction % does not balance', id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END;
$$;

CREATE CONSTRAINT TRIGGER balanced AFTER INSERT OR UPDATE OR DELETE ON ledger.entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger.check_balance();

CREATE VIEW ledger.balances AS
SELECT account, sum(cents) AS cents FROM ledger.entries GROUP BY account;

CREATE MATERIALIZED VIEW ledger.monthly AS
SELECT date_trunc('month', t.booked_on)::date AS month, e.account, sum(e.cents) AS cents
FROM ledger.transactions t
JOIN ledger.entries e ON e.transaction = t.id
GROUP BY 1, 2
WITH NO DATA;
