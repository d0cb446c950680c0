DROP TABLE billing.subscriptions;
DROP TABLE billing.plans;
