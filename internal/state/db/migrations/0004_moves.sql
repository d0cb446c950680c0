create table moves (
  environment text not null,
  instance    text not null,
  from_at     text not null,
  to_name     text not null,
  to_declared bigint not null default 0,
  to_at       text not null,
  run         text not null,
  since_ms    bigint not null,
  undone_ms   bigint not null default 0,
  undone_by   text not null default '',
  primary key (environment, instance, from_at)
);
