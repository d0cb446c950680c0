ALTER TABLE billing.invoices DETACH PARTITION billing.invoices_2027;
DROP TABLE billing.invoices_2027;
