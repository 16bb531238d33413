-- State of the migration, kept where the rows are: losing the migration host loses nothing.

create schema if not exists _ts_live_sync;

-- One row a subscription. Written about once a second; never part of a transaction that applies rows.
create table if not exists _ts_live_sync.subscription (
    subname text primary key,
    publications text[] not null,
    slot_name text not null,
    source_system_identifier text not null,
    source_database text not null,
    table_map jsonb not null,
    copy_data boolean not null,
    -- Grows with each engine that takes over; a transaction of an older one must not commit.
    epoch bigint not null default 0,
    source_flush_lsn pg_lsn,
    last_replicated_lsn pg_lsn,
    last_replicated_txn_time timestamptz,
    metrics_updated_at timestamptz,
    updated_at timestamptz not null default pg_catalog.now(),
    created_at timestamptz not null default pg_catalog.now(),
    last_error text,
    -- `refresh-publication` asks, the running engine answers.
    refresh_requested_at timestamptz,
    refreshed_at timestamptz
);

-- The position of the apply stream, written in the same transaction as the rows it stands for.
create table if not exists _ts_live_sync.progress (
    subname text primary key,
    epoch bigint not null,
    lsn pg_lsn not null
);

-- One row a source table.
create table if not exists _ts_live_sync.subscription_rel (
    subname text not null,
    pubname text not null,
    schemaname text not null,
    tablename text not null,
    rrelid oid not null,
    target_schema text not null,
    target_table text not null,
    state text not null check (state in ('i', 'd', 'f', 's', 'r')),
    -- In f: position of this table's own stream. In s and r: changes from here on come by the apply stream.
    lsn pg_lsn,
    -- Set: the table is set aside and takes no part until it is retried.
    last_error text,
    -- The target table holds rows of an earlier copy that the next one has to replace.
    copy_again boolean not null default false,
    -- Of a hypertable and its chunks: the hypertable on the source. A chunk's changes may come after it is gone.
    hypertable oid,
    -- Which of the hypertable's rows are the chunk's.
    rows_condition text,
    rows_copied bigint not null default 0,
    approximate_rows bigint,
    bytes_copied bigint not null default 0,
    approximate_size bigint,
    created_at timestamptz not null default pg_catalog.now(),
    updated_at timestamptz not null default pg_catalog.now(),
    primary key (subname, rrelid)
);

-- One row a step of the schema that `run --schema` puts off until rows are there, with pg_dump's statement.
create table if not exists _ts_live_sync.deferred (
    subname text not null,
    -- An order that works.
    position int not null,
    kind text not null,
    name text not null,
    statement text not null,
    -- Oids of the source's tables it is about, with the partitioned tables above them.
    source_tables oid[] not null,
    -- Of those, the tables whose catch-up waits for it.
    needed_by oid[] not null,
    -- Positions of the steps that come first.
    requires int[] not null,
    -- done is written by the transaction that runs the statement.
    state text not null default 'pending' check (state in ('pending', 'done', 'failed')),
    last_error text,
    updated_at timestamptz not null default pg_catalog.now(),
    primary key (subname, position)
);

-- One row a verification at work: where it wants the apply stream to stand still. Its session holds an advisory lock.
create table if not exists _ts_live_sync.verification (
    subname text primary key,
    verifier_pid int not null,
    -- Null: at the next boundary between source transactions.
    stop_lsn pg_lsn,
    -- A verifier that does not renew this is forgotten.
    expires_at timestamptz not null,
    -- The engine's answer.
    is_standing boolean not null default false,
    refusal text
);

-- One row a change that is made on the source for the time of the migration, such as a paused job of TimescaleDB.
-- It is written before the change is made, and deleted after what was before is put back.
create table if not exists _ts_live_sync.source_change (
    subname text not null,
    -- The order in which they are made.
    position int generated always as identity,
    about text not null,
    statement text not null,
    -- Puts back what was before.
    restore text not null,
    -- Of a paused job, its number.
    job int,
    -- Null where the role may not read it.
    source_system_identifier text,
    source_database text not null,
    recorded_at timestamptz not null default pg_catalog.now(),
    primary key (subname, about)
);
