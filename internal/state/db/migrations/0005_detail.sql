alter table events add column detail text not null default '';
