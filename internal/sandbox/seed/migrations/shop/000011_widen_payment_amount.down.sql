ALTER TABLE shop.payments ALTER COLUMN amount_cents TYPE integer;
