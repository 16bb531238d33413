"""Databases to migrate. Written in the words of TimescaleDB 2.10, which all later releases understand."""

from __future__ import annotations

HYPERTABLES = r'''
create schema app;
create schema "O'dd ""S""";
create schema chunks_of_mine;
set search_path = app, public;

create table metrics (
    "time" timestamptz not null, device int not null, value float8, primary key (device, "time"));
select create_hypertable('metrics', 'time', chunk_time_interval => interval '1 day',
                         create_default_indexes => false);

create table plain_time (at timestamp not null, kind text, v int);
select create_hypertable('plain_time', 'at', chunk_time_interval => interval '36 hours');

create table days (day date not null, place text not null, v numeric);
select create_hypertable('days', 'day', chunk_time_interval => interval '30 days',
                         create_default_indexes => false);

-- Milliseconds, and what says now.
create table ticks (t bigint not null, sensor int not null, v int);
create function ticks_now() returns bigint language sql stable as
    $$ select (extract(epoch from now()) * 1000)::bigint $$;
select create_hypertable('ticks', 't', chunk_time_interval => 86400000, create_default_indexes => false);
select set_integer_now_func('ticks', 'app.ticks_now');

create table small_ticks (t int not null, v int);
create function small_now() returns int language sql stable as $$ select 5000 $$;
select create_hypertable('small_ticks', 't', chunk_time_interval => 1000, create_default_indexes => false);
select set_integer_now_func('small_ticks', 'app.small_now');

-- By hash, by a hash of one's own, and by a further range.
create function my_hash(value anyelement) returns int language sql immutable as $$ select 7 $$;
create table spread (t timestamptz not null, d text not null, e text not null, n bigint not null, v int);
select create_hypertable('spread', 't', 'd', 4, chunk_time_interval => interval '1 week',
                         create_default_indexes => false);
select add_dimension('spread', 'e', 3, partitioning_func => 'app.my_hash');
select add_dimension('spread', 'n', chunk_time_interval => 1000);

-- A time inside something else.
create function time_of(value jsonb) returns timestamptz language sql immutable as
    $$ select ('2000-01-01 00:00:00+00'::timestamptz + (value ->> 'days')::int * interval '1 day') $$;
create table documents (body jsonb not null, v int);
select create_hypertable('documents', 'body', chunk_time_interval => interval '1 day',
                         create_default_indexes => false, time_partitioning_func => 'app.time_of');

-- Chunks in a schema of one's own, with a name of one's own.
create table elsewhere (t timestamptz not null, v int);
create index elsewhere_v on elsewhere (v);
select create_hypertable('elsewhere', 't', associated_schema_name => 'chunks_of_mine',
                         associated_table_prefix => 'part', chunk_time_interval => interval '1 hour',
                         create_default_indexes => false);

create table "O'dd ""S"""."Ta'ble ""x""" ("T'ime ""!""" timestamptz not null, "De'vice" text, "order" int);
select create_hypertable('"O''dd ""S"""."Ta''ble ""x"""', 'T''ime "!"', chunk_time_interval => 1234567,
                         create_default_indexes => false);

create table ordinary (id int primary key);

insert into metrics select '2026-01-01 00:30:00+00'::timestamptz + i * interval '1 hour', i % 3, i
  from generate_series(0, 100) i;
insert into plain_time select '2026-01-01'::timestamp + i * interval '1 day', 'k', i from
    generate_series(1, 5) i;
insert into days select '2026-01-01'::date + i, 'here', i from generate_series(1, 50) i;
insert into ticks select 1767225600000 + i * 3600000::bigint, i % 2, i from generate_series(0, 100) i;
insert into small_ticks select i * 100, i from generate_series(1, 40) i;
insert into spread select '2026-01-01'::timestamptz + i * interval '1 day', 'd' || i, 'e' || i, i * 300, i
  from generate_series(1, 10) i;
insert into documents select jsonb_build_object('days', 9000 + i), i from generate_series(1, 5) i;
insert into elsewhere select '2026-01-01'::timestamptz + i * interval '30 minutes', i from
    generate_series(1, 6) i;
insert into "O'dd ""S"""."Ta'ble ""x""" values ('2026-01-01 00:00:00+00', 'a', 1);
'''

AGGREGATES = r'''
set search_path = app, public;
alter table metrics set (timescaledb.compress, timescaledb.compress_segmentby = 'device',
    timescaledb.compress_orderby = '"time" desc nulls last, value');
alter table ticks set (timescaledb.compress);
alter table "O'dd ""S"""."Ta'ble ""x""" set (timescaledb.compress,
    timescaledb.compress_segmentby = '"De''vice","order"', timescaledb.compress_orderby = '"T''ime ""!"""');
alter table elsewhere set (timescaledb.compress, timescaledb.compress_chunk_time_interval = '1 day');

create materialized view zz_hourly with (timescaledb.continuous, timescaledb.materialized_only = false) as
select time_bucket('1 hour', "time") as bucket, device, avg(value) as "Av'g", count(*) as n
  from metrics group by 1, 2 with no data;
-- Named so that it sorts before what it stands on.
create materialized view daily with (timescaledb.continuous, timescaledb.materialized_only = true) as
select time_bucket('1 day', bucket) as day, device, sum(n) as n from zz_hourly group by 1, 2 with no data;
create materialized view aa_monthly with (timescaledb.continuous, timescaledb.materialized_only = true) as
select time_bucket('1 month', day) as month, sum(n) as n from daily group by 1 with no data;
create materialized view by_tick with (timescaledb.continuous, timescaledb.materialized_only = true) as
select time_bucket(3600000::bigint, t) as bucket, sensor, max(v) as most from ticks group by 1, 2
    with no data;
create materialized view local_days with (timescaledb.continuous, timescaledb.materialized_only = true,
    timescaledb.create_group_indexes = false) as
select time_bucket('1 day', "time", 'Europe/Paris') as bucket, min(value) as least from metrics group by 1
  with no data;

create index "my 'index" on daily (n, day desc);
create index on daily (n);
comment on view daily is 'per day; it''s one';
comment on column daily.n is 'how many';
alter materialized view daily set (timescaledb.compress = true);

create view on_daily as select day, n from daily where n > 1;
create view on_both as select d.n, o.id from on_daily d join ordinary o on o.id = d.n;
comment on view on_both is 'a view on a view on an aggregate';
create view ordinary_view as select * from ordinary;
create materialized view kept_daily as select * from daily with no data;
create index kept_daily_day on kept_daily (day);

call refresh_continuous_aggregate('zz_hourly', null, null);
call refresh_continuous_aggregate('daily', null, null);
call refresh_continuous_aggregate('aa_monthly', null, null);
call refresh_continuous_aggregate('by_tick', null, null);
call refresh_continuous_aggregate('local_days', null, null);
select compress_chunk(c) from (select show_chunks('metrics') c limit 2) s;
'''
"""For the full edition; after :data:`HYPERTABLES`."""

POLICIES = r"""
set search_path = app, public;
select add_compression_policy('metrics', interval '7 days', initial_start => '2026-01-01 03:00:00+01',
                              timezone => 'Europe/Paris');
select add_compression_policy('ticks', 604800000::bigint);

select add_continuous_aggregate_policy('zz_hourly', null, interval '1 hour', interval '30 minutes');
select add_continuous_aggregate_policy('daily', interval '30 days', null, interval '1 day');
select add_continuous_aggregate_policy('by_tick', 864000000::bigint, 3600000::bigint, interval '1 hour');

select add_compression_policy('daily', interval '60 days');
select alter_job((select max(id) from JOBS), schedule_interval => interval '2 days', max_retries => 3);

select add_retention_policy('metrics', interval '1 year');
select add_retention_policy('ticks', 31536000000::bigint);
select add_retention_policy('small_ticks', 1000);
select alter_job((select max(id) from JOBS), scheduled => false);
select add_retention_policy('zz_hourly', interval '5 years', schedule_interval => interval '3 days');

select add_reorder_policy('metrics', 'metrics_pkey');

create procedure my_job(job_id int, config jsonb) language plpgsql as 'begin end';
create function my_check(config jsonb) returns void language plpgsql as 'begin end';
select add_job('my_job', interval '1 month', config => '{"a": [1, null], "b": "it''s"}',
               initial_start => '2026-03-01 00:00:00+00', timezone => 'Europe/Paris', check_config
    => 'my_check');
select add_job('my_job', interval '5 minutes', scheduled => false, fixed_schedule => false);
"""
"""For the full edition; after :data:`AGGREGATES`. JOBS stands for the catalog table of jobs."""
