-- Believable rows of a billing service, the same on every server: nothing here is random or depends on the clock.

INSERT INTO billing.accounts (name, vat_id, currency, closed, created_at)
SELECT (ARRAY['Alpine', 'Baltic', 'Central', 'Delta', 'Eastern', 'First', 'Golden', 'Harbour', 'Inland', 'Northern', 'Old Town', 'Riverside', 'Southern'])[1 + (i * 5) % 13] || ' '
       || (ARRAY['Bakery', 'Books', 'Cycles', 'Clinic', 'Logistics', 'Media', 'Optics', 'Studio', 'Tools', 'Travel', 'Wines'])[1 + (i * 3) % 11] || ' ' || i,
       CASE WHEN i % 9 <> 0 THEN (ARRAY['DE', 'FR', 'NL', 'ES'])[1 + i % 4] || lpad(((i::bigint * 7654321) % 1000000000)::text, 9, '0') END,
       CASE WHEN i % 20 = 0 THEN 'CHF' ELSE 'EUR' END, i % 41 = 0, timestamptz '2023-06-01 10:00Z' + i * interval '11 hours'
FROM generate_series(1, 1000) AS i;

INSERT INTO billing.plans VALUES
    ('free', 'Free', 0, '{}'),
    ('team', 'Team', 4900, '{"shared boards"}'),
    ('business', 'Business', 19900, '{"shared boards","single sign-on"}'),
    ('enterprise', 'Enterprise', 99900, '{"shared boards","single sign-on","audit log"}');

INSERT INTO billing.subscriptions (account_id, plan, period)
SELECT a.id, p.plan, daterange(p.since, p.until)
FROM billing.accounts a
CROSS JOIN LATERAL (VALUES
    ('free', date '2024-01-01', date '2024-01-01' + (30 + a.id * 17 % 300)::integer),
    ((ARRAY['team', 'team', 'team', 'business', 'business', 'enterprise'])[1 + a.id % 6], date '2024-01-01' + (30 + a.id * 17 % 300)::integer, CASE WHEN a.closed THEN date '2026-06-01' END)
) AS p (plan, since, until);

INSERT INTO billing.invoices (account_id, state, issued_on, due_on)
SELECT s.account_id,
       (CASE WHEN month < '2026-10-01' THEN CASE WHEN (s.account_id + extract(month FROM month)::integer) % 61 = 0 THEN 'void' ELSE 'paid' END
             WHEN s.account_id % 3 = 0 THEN 'open' ELSE 'paid' END)::billing.invoice_state,
       month::date, month::date + 14
FROM billing.subscriptions s
CROSS JOIN generate_series(timestamp '2024-02-01', timestamp '2026-11-01', interval '2 months') AS month
WHERE s.plan <> 'free' AND s.period @> month::date
ORDER BY month, s.account_id;

INSERT INTO billing.invoice_lines (number, issued_on, line, what, cents)
SELECT i.number, i.issued_on, l.line, l.what, l.cents
FROM billing.invoices i
JOIN billing.subscriptions s ON s.account_id = i.account_id AND s.period @> i.issued_on
JOIN billing.plans p ON p.code = s.plan
CROSS JOIN LATERAL (VALUES (1, p.name || ', two months', p.price_cents * 2), (2, 'Storage', i.number % 37 * 100)) AS l (line, what, cents)
WHERE l.cents > 0;

INSERT INTO ledger.transactions (id, booked_on, invoice, memo)
SELECT md5('invoice ' || number)::uuid, issued_on, number, 'Invoice ' || number FROM billing.invoices WHERE state IN ('open', 'paid')
UNION ALL
SELECT md5('payment ' || number)::uuid, issued_on + 9, number, 'Payment of ' || number FROM billing.invoices WHERE state = 'paid';

INSERT INTO ledger.entries (transaction, account, cents)
SELECT md5(b.kind || i.number)::uuid, b.account, b.cents
FROM (
    SELECT i.number, i.state, sum(l.cents)::bigint AS net, (sum(l.cents) * 19 / 100)::bigint AS vat
    FROM billing.invoices i
    JOIN billing.invoice_lines l USING (number, issued_on)
    WHERE i.state IN ('open', 'paid')
    GROUP BY i.number, i.state
) AS i
CROSS JOIN LATERAL (VALUES
    ('invoice ', 'receivable', net + vat), ('invoice ', 'revenue', -net), ('invoice ', 'vat', -vat),
    ('payment ', 'bank', net + vat), ('payment ', 'receivable', -net - vat)
) AS b (kind, account, cents)
WHERE b.kind = 'invoice ' OR i.state = 'paid';

REFRESH MATERIALIZED VIEW ledger.monthly;
