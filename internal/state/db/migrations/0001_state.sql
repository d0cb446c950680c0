create table meta (
  name  text primary key,
  value text not null
);
create table plans (
  hash        text primary key,
  id          text not null,
  kind        text not null,
  environment text not null,
  instance    text not null,
  requester   text not null,
  body        {blob} not null,
  created_ms  bigint not null,
  expires_ms  bigint not null
);
create table runs (
  id          text primary key,
  plan_hash   text not null references plans (hash),
  kind        text not null,
  environment text not null,
  instance    text not null,
  title       text not null,
  requester   text not null,
  queue       text not null,
  state       text not null,
  step        text not null default '',
  problem     text not null default '',
  hint        text not null default '',
  verbs       text not null default '',
  runner      text not null default '',
  created_ms  bigint not null,
  started_ms  bigint not null default 0,
  updated_ms  bigint not null,
  ended_ms    bigint not null default 0
);
create index runs_by_state on runs (state, created_ms);
create table steps (
  run        text not null references runs (id),
  phase      text not null,
  pos        bigint not null,
  attempt    bigint not null,
  name       text not null,
  state      text not null,
  output     {blob},
  problem    text not null default '',
  started_ms bigint not null,
  ended_ms   bigint not null default 0,
  primary key (run, phase, pos, attempt)
);
create table events (
  run   text not null references runs (id),
  seq   bigint not null,
  at_ms bigint not null,
  kind  text not null,
  step  text not null default '',
  text  text not null default '',
  primary key (run, seq)
);
create table controls (
  run      text not null references runs (id),
  seq      bigint not null,
  verb     text not null,
  reason   text not null default '',
  actor    text not null,
  at_ms    bigint not null,
  point    text not null default '',
  primary key (run, seq)
);
create table runners (
  id         text primary key,
  host       text not null,
  pid        bigint not null,
  queues     text not null,
  started_ms bigint not null,
  expires_ms bigint not null
);
create table leases (
  target text primary key,
  token  bigint not null,
  run    text not null,
  runner text not null
);
create table approvals (
  id           text primary key,
  plan_hash    text not null references plans (hash),
  requester    text not null,
  required     bigint not null,
  state        text not null,
  requested_ms bigint not null,
  expires_ms   bigint not null,
  run          text not null default ''
);
create index approvals_by_plan on approvals (plan_hash);
create table votes (
  approval text not null references approvals (id),
  actor    text not null,
  method   text not null,
  verdict  text not null,
  reason   text not null default '',
  evidence text not null default '',
  at_ms    bigint not null,
  primary key (approval, actor)
);
create table baselines (
  environment text not null,
  instance    text not null,
  setting     text not null,
  value       text not null,
  run         text not null,
  at_ms       bigint not null,
  primary key (environment, instance, setting)
);
create table audit_head (
  id         bigint primary key,
  size       bigint not null,
  roots      {blob} not null,
  checkpoint text not null
);
create table audit_entries (
  seq  bigint primary key,
  run  text not null,
  body {blob} not null
);
create index audit_entries_by_run on audit_entries (run, seq);
create table audit_hashes (
  idx  bigint primary key,
  hash {blob} not null
);
insert into audit_head values (1, 0, '', '');
