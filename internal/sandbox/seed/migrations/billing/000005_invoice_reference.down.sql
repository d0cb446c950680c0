ALTER TABLE billing.invoices DROP COLUMN reference;
