DROP INDEX CONCURRENTLY shop.orders_placed_at;
