CREATE TYPE billing.invoice_state AS ENUM ('draft', 'open', 'paid', 'void');

CREATE SEQUENCE billing.invoice_number START 2024000001;

CREATE TABLE billing.invoices (
    number     bigint NOT NULL DEFAULT nextval('billing.invoice_number'),
    account_id bigint NOT NULL REFERENCES billing.accounts,
    state      billing.invoice_state NOT NULL DEFAULT 'draft',
    issued_on  date NOT NULL,
    due_on     date NOT NULL,
    PRIMARY KEY (number, issued_on),
    CHECK (due_on >= issued_on)
) PARTITION BY RANGE (issued_on);

CREATE TABLE billing.invoices_2024 PARTITION OF billing.invoices FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE billing.invoices_2025 PARTITION OF billing.invoices FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE billing.invoices_2026 PARTITION OF billing.invoices FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX invoices_account ON billing.invoices (account_id, issued_on);
CREATE INDEX invoices_overdue ON billing.invoices (due_on) WHERE state = 'open';

CREATE TABLE billing.invoice_lines (
    number    bigint NOT NULL,
    issued_on date NOT NULL,
    line      smallint NOT NULL,
    what      text NOT NULL,
    cents     billing.cents NOT NULL,
    vat       numeric(4, 2) NOT NULL DEFAULT 19.00,
    PRIMARY KEY (number, issued_on, line),
    FOREIGN KEY (number, issued_on) REFERENCES billing.invoices ON DELETE CASCADE
);
