DROP TRIGGER touch ON shop.customers;
DROP TRIGGER touch ON shop.orders;
DROP FUNCTION shop.touch();
DROP TRIGGER order_changes ON shop.orders;
DROP SCHEMA audit CASCADE;
