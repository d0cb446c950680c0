ALTER TABLE shop.customers ADD COLUMN loyalty_points integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN shop.customers.loyalty_points IS 'One for each euro spent';
