CREATE VIEW shop.order_totals AS
SELECT o.id, o.number, o.customer_id, o.status, o.placed_at, count(*) AS lines, sum(i.quantity * i.price_cents) AS total_cents
FROM shop.orders o
JOIN shop.order_items i ON i.order_id = o.id
GROUP BY o.id;
COMMENT ON VIEW shop.order_totals IS 'Each order with what it costs';

CREATE MATERIALIZED VIEW shop.monthly_revenue AS
SELECT (date_trunc('month', placed_at AT TIME ZONE 'UTC'))::date AS month, c.country, count(*) AS orders, sum(total_cents) AS revenue_cents
FROM shop.order_totals t
JOIN shop.customers c ON c.id = t.customer_id
WHERE status <> 'cart' AND status <> 'cancelled'
GROUP BY 1, 2
WITH NO DATA;
CREATE UNIQUE INDEX monthly_revenue_key ON shop.monthly_revenue (month, country);

CREATE FUNCTION shop.best_sellers(since timestamptz, most integer DEFAULT 10)
    RETURNS TABLE (sku text, name text, pieces bigint)
    LANGUAGE sql STABLE AS $$
    SELECT p.sku, p.name, sum(i.quantity)
    FROM shop.order_items i
    JOIN shop.orders o ON o.id = i.order_id AND o.placed_at >= since
    JOIN shop.products p ON p.id = i.product_id
    GROUP BY p.id
    ORDER BY 3 DESC, 1
    LIMIT most
$$;
