alter table runs add column actor text not null default '';
alter table runs add column actor_via text not null default '';
alter table controls add column actor_via text not null default '';
