ALTER TABLE billing.invoices ADD COLUMN reference text;
COMMENT ON COLUMN billing.invoices.reference IS 'What the customer wants to read on the invoice';
