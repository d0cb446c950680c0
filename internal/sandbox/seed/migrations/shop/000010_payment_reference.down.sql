ALTER TABLE shop.payments DROP COLUMN reference;
