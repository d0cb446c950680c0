alter table runners add column process text not null default '';
alter table runners add column seen_ms bigint not null default 0;
