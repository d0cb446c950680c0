-- Believable rows of a shop, the same on every server: nothing here is random or depends on the clock.

INSERT INTO shop.customers (email, name, country, newsletter, tags, profile, created_at, updated_at)
SELECT lower(first) || '.' || lower(last) || i || '@example.com', first || ' ' || last,
       (ARRAY['DE', 'FR', 'NL', 'IT', 'ES', 'AT', 'PL', 'SE'])[1 + (i * i) % 8], i % 3 = 0,
       CASE WHEN i % 50 = 0 THEN ARRAY['vip'] WHEN i % 7 = 0 THEN ARRAY['returns often'] ELSE '{}' END,
       jsonb_build_object('language', (ARRAY['de', 'fr', 'nl', 'it', 'es', 'de', 'pl', 'sv'])[1 + (i * i) % 8], 'theme', CASE WHEN i % 4 = 0 THEN 'dark' ELSE 'light' END),
       at, at
FROM (
    SELECT i,
           (ARRAY['Anna', 'Bruno', 'Clara', 'David', 'Elena', 'Felix', 'Greta', 'Hugo', 'Irene', 'Jan', 'Katja', 'Luca', 'Marie', 'Nils', 'Olga', 'Paolo', 'Rosa', 'Sven', 'Tilda', 'Viktor'])[1 + (i * 7) % 20] AS first,
           (ARRAY['Berger', 'Conti', 'Dubois', 'Ekman', 'Fischer', 'Garcia', 'Hoffmann', 'Jansen', 'Kowalski', 'Lindgren', 'Moreau', 'Novak', 'Peters', 'Ricci', 'Schmidt', 'Torres', 'Visser'])[1 + (i * 11) % 17] AS last,
           timestamptz '2023-01-09 08:00Z' + i * interval '4 hours 37 minutes' AS at
    FROM generate_series(1, 5000) AS i
) AS c;

INSERT INTO shop.categories (id, parent_id, name) VALUES
    (1, NULL, 'Kitchen'), (2, NULL, 'Garden'), (3, NULL, 'Office'),
    (4, 1, 'Pots and pans'), (5, 1, 'Knives'), (6, 2, 'Tools'), (7, 2, 'Seeds'), (8, 3, 'Lamps'), (9, 3, 'Paper');
SELECT setval(pg_get_serial_sequence('shop.categories', 'id'), 9);

INSERT INTO shop.products (category_id, sku, name, description, price_cents, active, attributes, created_at)
SELECT category, 'P-' || lpad(i::text, 5, '0'), adjective || ' ' || thing, 'A ' || lower(adjective) || ' ' || lower(thing) || ' for every day',
       199 + (i * 7919) % 24800, i % 23 <> 0,
       jsonb_build_object('colour', (ARRAY['black', 'white', 'red', 'green', 'oak'])[1 + i % 5], 'grams', 40 + (i * 131) % 4000),
       timestamptz '2022-11-01 09:00Z' + i * interval '9 hours'
FROM (
    SELECT i, 4 + i % 6 AS category,
           (ARRAY['Sturdy', 'Light', 'Foldable', 'Classic', 'Small', 'Large', 'Quiet', 'Bright', 'Plain', 'Handmade', 'Recycled'])[1 + (i * 5) % 11] AS adjective,
           (ARRAY[ARRAY['Saucepan', 'Skillet', 'Casserole'], ARRAY['Bread knife', 'Paring knife', 'Cleaver'], ARRAY['Spade', 'Rake', 'Secateurs'],
                  ARRAY['Tomato seeds', 'Basil seeds', 'Sunflower seeds'], ARRAY['Desk lamp', 'Floor lamp', 'Reading lamp'], ARRAY['Notebook', 'Letter paper', 'Sketch pad']])[1 + i % 6][1 + (i / 6) % 3] AS thing
    FROM generate_series(1, 1000) AS i
) AS p;

INSERT INTO shop.orders (customer_id, status, note, placed_at, updated_at)
SELECT 1 + (i::bigint * 7907) % 5000,
       (CASE WHEN i > 29700 THEN ARRAY['cart', 'placed', 'paid'] WHEN i > 29000 THEN ARRAY['placed', 'paid', 'shipped'] WHEN i % 31 = 0 THEN ARRAY['cancelled', 'cancelled', 'cancelled'] ELSE ARRAY['delivered', 'delivered', 'delivered'] END)[1 + i % 3]::shop.order_status,
       CASE WHEN i % 97 = 0 THEN 'Please ring twice' END,
       at, at + interval '3 days'
FROM (SELECT i, timestamptz '2024-11-20 00:00Z' + i * interval '35 minutes 2 seconds' AS at FROM generate_series(1, 30000) AS i) AS o
ORDER BY i;

INSERT INTO shop.order_items (order_id, line, product_id, quantity, price_cents)
SELECT o.id, line, p.id, 1 + (o.id * line) % 4, p.price_cents
FROM shop.orders o
CROSS JOIN LATERAL generate_series(1, 1 + (o.id * 5 % 7)::integer % 5) AS line
JOIN shop.products p ON p.id = 1 + (o.id * 613 + line * 389) % 1000;

INSERT INTO shop.payments (id, order_id, method, amount_cents, captured_at, refunded_at)
SELECT md5('payment ' || t.id)::uuid, t.id, (ARRAY['card', 'card', 'card', 'invoice', 'transfer', 'voucher'])[1 + t.id % 6], t.total_cents,
       CASE WHEN t.status <> 'placed' THEN t.placed_at + interval '5 minutes' END, CASE WHEN t.status = 'cancelled' THEN t.placed_at + interval '2 days' END
FROM shop.order_totals t
WHERE t.status <> 'cart';

INSERT INTO inventory.warehouses VALUES ('BER', 'Berlin', 'DE'), ('LYO', 'Lyon', 'FR'), ('RTM', 'Rotterdam', 'NL');

INSERT INTO inventory.stock (warehouse, product_id, quantity, reserved)
SELECT w.code, p.id, 5 + (p.id * 37) % 200, (p.id * 37) % 5
FROM inventory.warehouses w
CROSS JOIN shop.products p;

INSERT INTO inventory.movements (warehouse, product_id, change, reason, at)
SELECT (ARRAY['BER', 'LYO', 'RTM'])[1 + i % 3], 1 + (i * 7) % 1000, CASE WHEN i % 10 = 0 THEN 50 ELSE -1 - i % 3 END,
       CASE WHEN i % 10 = 0 THEN 'delivery' ELSE 'sale' END, timestamptz '2026-08-01 00:00Z' + i * interval '16 minutes'
FROM generate_series(1, 10000) AS i;

INSERT INTO audit.order_changes (at, order_id, who, was, became)
SELECT placed_at + interval '1 day', id, 'shop_api', 'paid', 'shipped' FROM shop.orders WHERE status = 'delivered' AND id % 4 = 0;

REFRESH MATERIALIZED VIEW shop.monthly_revenue;
