DROP FUNCTION shop.best_sellers(timestamptz, integer);
DROP MATERIALIZED VIEW shop.monthly_revenue;
DROP VIEW shop.order_totals;
