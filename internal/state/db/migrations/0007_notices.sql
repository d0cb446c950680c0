create table notices (
  id          text primary key,
  receiver    text not null,
  environment text not null,
  run         text not null,
  occasion    text not null,
  body        {blob} not null,
  state       text not null,
  attempts    bigint not null default 0,
  problem     text not null default '',
  created_ms  bigint not null,
  due_ms      bigint not null,
  ended_ms    bigint not null default 0
);
create index notices_by_state on notices (state, due_ms);
