CREATE ROLE app_owner LOGIN; CREATE ROLE app_rw; CREATE ROLE readonly; CREATE ROLE alice LOGIN; CREATE ROLE orphan_owner;
