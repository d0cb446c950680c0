CREATE TABLE billing.invoices_2027 PARTITION OF billing.invoices FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
