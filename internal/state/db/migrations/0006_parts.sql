alter table runs add column part_of text not null default '';
alter table runs add column part_step text not null default '';
create index runs_part_of on runs (part_of);
