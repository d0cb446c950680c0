ALTER TABLE shop.payments ADD COLUMN reference text;
ALTER TABLE shop.payments ADD CONSTRAINT payments_reference_length CHECK (length(reference) <= 64) NOT VALID;
ALTER TABLE shop.payments VALIDATE CONSTRAINT payments_reference_length;
