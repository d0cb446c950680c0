DROP TABLE billing.invoice_lines;
DROP TABLE billing.invoices;
DROP SEQUENCE billing.invoice_number;
DROP TYPE billing.invoice_state;
