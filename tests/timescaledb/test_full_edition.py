"""Aggregates, columnstores, policies and jobs read the same on the other side; wherever such servers are."""

from __future__ import annotations

import pytest
from psycopg import sql

from engine.catalog.table import TableName
from engine.errors import Side
from engine.script.planned import Script
from engine.timescaledb.aggregate import ContinuousAggregate
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.job import Job, JobKind
from engine.timescaledb.read_catalog import read_catalog
from engine.timescaledb.read_chunks import read_chunks
from engine.timescaledb.read_refills import decide_refills
from engine.timescaledb.refill import Refill, RefillWay
from tests.conftest import Database
from tests.timescaledb.moving import (
    apply,
    archive_of,
    fill,
    job_table,
    left_to_do,
    migrate_schema,
    plan,
    restore,
    session_on,
)
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES, POLICIES


def catalog_of(database: Database) -> TimescaleCatalog:
    with session_on(database, Side.SOURCE) as session:
        catalog = read_catalog(session, Side.SOURCE)
    assert catalog is not None
    return catalog


def aggregates(database: Database) -> dict[str, ContinuousAggregate]:
    return {view.name.table: view for view in catalog_of(database).aggregates}


def jobs(database: Database, kind: JobKind) -> dict[str, Job]:
    return {
        "" if job.relation is None else job.relation.table: job
        for job in catalog_of(database).jobs
        if job.kind is kind
    }


def refills(database: Database) -> dict[str, Refill]:
    catalog = catalog_of(database)
    with session_on(database, Side.SOURCE) as session:
        return {refill.aggregate.table: refill for refill in decide_refills(session, catalog)}


def script(scripts: tuple[Script, ...], file_name: str) -> Script:
    return next(script for script in scripts if script.file_name == file_name)


def test_all_comes_over_and_is_then_there(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    assert migrate_schema(full_source, full_target) == []
    planned = plan(full_source, full_target)
    assert left_to_do(planned) == []
    there = {
        script.file_name: len(script.already_there)
        for script in (*planned.with_the_schema, *planned.after_the_copy)
    }
    assert there == {
        "create_hypertables.sql": 9,
        "add_dimensions.sql": 0,
        "continuous_aggregates.sql": 5,
        "enable_columnstore.sql": 5,
        "refresh_policies.sql": 3,
        "columnstore_policies.sql": 3,
        "retention_policies.sql": 4,
        "reorder_policies.sql": 1,
        "compaction_policies.sql": 0,
        "jobs.sql": 2,
    }
    # What PostgreSQL itself says of both.
    for query in (
        "select view_schema, view_name, materialized_only, compression_enabled"
        " from timescaledb_information.continuous_aggregates order by 1, 2",
        "select hypertable_schema, hypertable_name, compression_enabled"
        " from timescaledb_information.hypertables order by 1, 2",
        "select schemaname, viewname from pg_views where schemaname = 'app' order by 1, 2",
        "select indexname, indexdef from pg_indexes where tablename = 'kept_daily' order by 1",
    ):
        assert full_target.query(query) == full_source.query(query)


def test_aggregates_keep_what_a_query_does_not_say(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    assert migrate_schema(full_source, full_target) == []
    found = aggregates(full_target)
    assert list(found) == ["by_tick", "local_days", "zz_hourly", "daily", "aa_monthly"]
    assert [view.level for view in found.values()] == [0, 0, 0, 1, 2]
    assert found["daily"].reads == TableName("app", "zz_hourly")
    assert found["zz_hourly"].is_real_time
    assert not found["daily"].is_real_time
    assert (found["daily"].comment, found["daily"].column_comments) == (
        "per day; it's one",
        (("n", "how many"),),
    )
    for name, view in aggregates(full_source).items():
        assert {index.kind for index in found[name].indexes} == {index.kind for index in view.indexes}
        assert found[name].extent == view.extent
    assert "my 'index" in {index.name for index in found["daily"].indexes}
    # The views on it give what it gives.
    full_target.execute("insert into app.metrics values ('2026-01-01', 1, 5), ('2026-01-01 00:10', 1, 5)")
    with full_target.connect() as connection:
        connection.execute("call public.refresh_continuous_aggregate('app.zz_hourly', null, null)")
        connection.execute("call public.refresh_continuous_aggregate('app.daily', null, null)")
    assert full_target.query("select n from app.on_daily") == [(2,)]


def test_aggregates_have_their_owners(other_role: str, full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    for statement in (
        "grant all on schema app to {}",
        "grant select on app.metrics to {}",
        "alter materialized view app.local_days owner to {}",
    ):
        full_source.execute(sql.SQL(statement).format(sql.Identifier(other_role)))
    assert migrate_schema(full_source, full_target) == []
    assert aggregates(full_target)["local_days"].owner == other_role
    assert left_to_do(plan(full_source, full_target)) == []


def test_a_changed_aggregate_is_put_right(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    assert migrate_schema(full_source, full_target) == []
    full_target.execute("alter materialized view app.zz_hourly set (timescaledb.materialized_only = true)")
    full_target.execute(
        "comment on view app.daily is 'other'; drop index _timescaledb_internal.\"my 'index\""
    )
    full_target.execute("drop view app.on_both")
    full_target.execute("drop materialized view app.aa_monthly")
    full_target.execute(
        "create materialized view app.aa_monthly with (timescaledb.continuous) as"
        " select public.time_bucket('1 month', day) as month, max(n) as n from app.daily group by 1"
        " with no data"
    )
    planned = plan(full_source, full_target)
    aggregate_script = script(planned.with_the_schema, "continuous_aggregates.sql")
    assert [statement.about for statement in aggregate_script.to_run] == [
        "continuous aggregate app.zz_hourly: whether newer rows are computed",
        'continuous aggregate app.daily: index "my \'index"',
        "continuous aggregate app.daily: comment",
    ]
    assert ["another query" in one.set_apart for one in aggregate_script.set_apart] == [True]
    assert apply(full_target, planned.with_the_schema) == []
    again = script(plan(full_source, full_target).with_the_schema, "continuous_aggregates.sql")
    assert again.to_run == ()


def test_columnstores_are_only_where_they_were(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    assert migrate_schema(full_source, full_target) == []
    found = {table.name.table: table.columnstore for table in catalog_of(full_target).hypertables}
    assert {name for name, columnstore in found.items() if columnstore is not None} == {
        "metrics",
        "ticks",
        'Ta\'ble "x"',
        "elsewhere",
    }
    odd = found['Ta\'ble "x"']
    assert odd is not None
    assert odd.segment_by == ("De'vice", "order")
    assert odd.order_by is not None
    assert [column.name for column in odd.order_by] == ['T\'ime "!"']
    elsewhere = found["elsewhere"]
    assert elsewhere is not None
    assert elsewhere.merged is not None
    assert elsewhere.merged.length == 86_400_000_000


def test_policies_keep_what_the_seed_loses(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    assert migrate_schema(full_source, full_target) == []
    refresh = jobs(full_target, JobKind.REFRESH)
    assert "start_offset" not in {k for k, v in refresh["zz_hourly"].config.items() if v is not None}
    assert "end_offset" not in {k for k, v in refresh["daily"].config.items() if v is not None}
    assert refresh["by_tick"].config["start_offset"] == 864_000_000
    retention = jobs(full_target, JobKind.RETENTION)
    assert not retention["small_ticks"].is_scheduled
    assert retention["small_ticks"].config["drop_after"] == 1000
    assert retention["zz_hourly"].schedule_interval == "3 days"
    columnstore = jobs(full_target, JobKind.COLUMNSTORE)
    assert columnstore["metrics"].timezone == "Europe/Paris"
    assert columnstore["metrics"].initial_start == "2026-01-01 02:00:00+00"
    assert columnstore["daily"].max_retries == 3
    assert columnstore["ticks"].config["compress_after"] == 604_800_000
    users = [job for job in catalog_of(full_target).jobs if job.kind is JobKind.USER]
    assert [job.is_scheduled for job in users] == [True, False]
    assert users[0].config == {"a": [1, None], "b": "it's"}
    assert str(users[0].check) == "app.my_check"


def test_policies_that_differ_are_put_right(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    assert migrate_schema(full_source, full_target) == []
    number = jobs(full_target, JobKind.RETENTION)["metrics"].number
    full_target.execute(f"select public.alter_job({number}, scheduled => false)")
    # What no call has words for.
    number = jobs(full_source, JobKind.COLUMNSTORE)["metrics"].number
    full_source.execute(
        f"update {job_table(full_source)} set config = config || '{{\"maxchunks_to_compress\": 3}}'"
        f" where id = {number}"
    )
    planned = plan(full_source, full_target)
    assert left_to_do(planned) == [
        "columnstore policy of app.metrics: removed, because it differs",
        "columnstore policy of app.metrics",
        "retention policy of app.metrics, paused: removed, because it differs",
        "retention policy of app.metrics",
    ]
    assert apply(full_target, planned.after_the_copy) == []
    assert left_to_do(plan(full_source, full_target)) == []
    columnstore = jobs(full_target, JobKind.COLUMNSTORE)["metrics"]
    assert columnstore.config["maxchunks_to_compress"] == 3
    # alter_job takes it away when it is not told again.
    assert columnstore.timezone == "Europe/Paris"


def test_a_job_belongs_to_whom_it_belonged(
    other_role: str, full_source: Database, full_target: Database
) -> None:
    role = sql.Identifier(other_role)
    for database in {id(one.server): one for one in (full_source, full_target)}.values():
        database.execute(sql.SQL("alter role {} login").format(role))
    for database in (full_source, full_target):
        database.execute("create procedure public.j(int, jsonb) language plpgsql as 'begin end'")
    with full_source.connect() as connection:
        connection.execute(sql.SQL("set role {}").format(role))
        connection.execute("select public.add_job('public.j', interval '1 day')")
    assert apply(full_target, plan(full_source, full_target).after_the_copy) == []
    assert [job.owner for job in catalog_of(full_target).jobs] == [other_role]
    assert left_to_do(plan(full_source, full_target)) == []


def test_chunk_skipping_comes_over(full_source: Database, full_target: Database) -> None:
    if not catalog_of(full_source).installation.has("enable_chunk_skipping"):
        pytest.skip("TimescaleDB has it since 2.16")
    fill(full_source, HYPERTABLES, AGGREGATES)
    with full_source.connect() as connection:
        # From 2.17 on it has to be allowed.
        connection.execute("set timescaledb.enable_chunk_skipping = on")
        connection.execute("select public.enable_chunk_skipping('app.ticks', 'sensor')")
    assert migrate_schema(full_source, full_target) == []
    tables = {table.name.table: table for table in catalog_of(full_target).hypertables}
    assert tables["ticks"].skipping == ("sensor",)


def test_sparse_indexes_that_somebody_asked_for_come_over(
    full_source: Database, full_target: Database
) -> None:
    if min(catalog_of(one).installation.version for one in (full_source, full_target)) < (2, 22):
        pytest.skip("TimescaleDB has them since 2.22")
    fill(full_source, HYPERTABLES)
    full_source.execute(
        "alter table app.ticks set (timescaledb.enable_columnstore, timescaledb.orderby = 't',"
        " timescaledb.index = 'bloom(sensor),minmax(v)')"
    )
    assert migrate_schema(full_source, full_target) == []
    tables = {table.name.table: table for table in catalog_of(full_target).hypertables}
    columnstore = tables["ticks"].columnstore
    assert columnstore is not None
    assert {(index.kind, index.columns) for index in columnstore.indexes} == {
        ("bloom", ("sensor",)),
        ("minmax", ("v",)),
    }


def test_a_uuid_dimension_comes_over(full_source: Database, full_target: Database) -> None:
    if catalog_of(full_source).installation.version < (2, 22):
        pytest.skip("TimescaleDB has them since 2.22")
    full_source.execute(
        "create table public.u (id uuid not null, v int);"
        "select public.create_hypertable('public.u', public.by_range('id', interval '5 days'))"
    )
    refused = migrate_schema(full_source, full_target)
    planned = plan(full_source, full_target)
    if catalog_of(full_target).installation.version < (2, 22):
        assert refused == []
        made = script(planned.with_the_schema, "create_hypertables.sql")
        assert "cannot cut by a UUID" in made.set_apart[0].set_apart
    else:
        assert refused == []
        assert left_to_do(planned) == []


def test_columnstores_and_aggregates_are_set_apart_for_the_apache_edition(
    full_source: Database, apache_target: Database
) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    restore(apache_target, archive_of(full_source).kept)
    planned = plan(full_source, apache_target)
    assert apply(apache_target, (*planned.with_the_schema, *planned.after_the_copy)) == []
    assert len(catalog_of(apache_target).hypertables) == 9
    for one in (*planned.with_the_schema[2:], *planned.after_the_copy):
        assert one.to_run == ()
        assert all("Apache edition" in statement.set_apart for statement in one.statements)
    again = plan(full_source, apache_target)
    assert script(again.with_the_schema, "create_hypertables.sql").statements == ()


def test_what_stands_later_waits(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    found = archive_of(full_source)
    waiting = {(entry.kind, entry.name) for entry in found.later}
    assert waiting == {
        ("VIEW", "on_daily"),
        ("VIEW", "on_both"),
        ("COMMENT", "VIEW on_both"),
        ("MATERIALIZED VIEW", "kept_daily"),
        ("INDEX", "kept_daily_day"),
    }
    assert {entry.name for entry in found.kept if entry.kind == "VIEW"} == {"ordinary_view"}
    assert not [entry for entry in found.kept if entry.kind == "TRIGGER"]
    assert not [entry for entry in found.kept if "_timescaledb_internal" in entry.statement]


def test_compressed_chunks_are_told_from_others(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    with session_on(full_source, Side.SOURCE) as session:
        chunks = read_chunks(session, Side.SOURCE)
    compressed = [chunk for chunk in chunks.values() if chunk.is_compressed]
    assert {chunk.hypertable.table for chunk in compressed} == {"metrics"}
    assert len(compressed) == 2
    # Those of an aggregate's own rows too; the relations that hold compressed rows are no chunks.
    views = {view.materialization for view in catalog_of(full_source).aggregates}
    assert views <= {chunk.hypertable for chunk in chunks.values()}
    assert not [chunk for chunk in chunks.values() if "compress" in chunk.name.table]


def test_an_aggregate_of_all_its_rows_is_recomputed(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    ways = {name: refill.way for name, refill in refills(full_source).items()}
    assert set(ways.values()) == {RefillWay.RECOMPUTE}, refills(full_source)


def test_history_whose_rows_are_gone_is_never_recomputed(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    # By hand, so no policy tells; the chunk that is left begins in the middle of the oldest month.
    full_source.execute("select public.drop_chunks('app.metrics', older_than => '2026-01-03'::timestamptz)")
    found = refills(full_source)
    assert found["zz_hourly"].way is RefillWay.COPY
    assert "2026-01-01" in found["zz_hourly"].reason
    assert found["local_days"].way is RefillWay.COPY
    # What reads an aggregate that is copied has all its rows.
    assert found["daily"].way is RefillWay.RECOMPUTE
    assert found["by_tick"].way is RefillWay.RECOMPUTE


def test_a_bucket_that_lost_some_of_its_rows_is_copied(full_source: Database) -> None:
    fill(full_source, HYPERTABLES)
    full_source.execute(
        "create materialized view app.months with (timescaledb.continuous) as"
        " select public.time_bucket('1 month', time) as month, count(*) as n from app.metrics group by 1"
        " with no data"
    )
    with full_source.connect() as connection:
        connection.execute("call public.refresh_continuous_aggregate('app.months', null, null)")
    assert refills(full_source)["months"].way is RefillWay.RECOMPUTE
    full_source.execute("select public.drop_chunks('app.metrics', older_than => '2026-01-03'::timestamptz)")
    assert refills(full_source)["months"].way is RefillWay.COPY


def test_a_hole_in_the_middle_is_found(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    full_source.execute(
        "select public.drop_chunks('app.metrics', older_than => '2026-01-04'::timestamptz,"
        " newer_than => '2026-01-02'::timestamptz);"
        "select public.drop_chunks('app.ticks', older_than => 1767225600000 + 3 * 86400000,"
        " newer_than => 1767225600000 + 86400000)"
    )
    found = refills(full_source)
    assert found["zz_hourly"].way is RefillWay.COPY
    assert "no chunk" in found["zz_hourly"].reason
    assert "no chunk" in found["by_tick"].reason


def test_what_a_policy_drops_from_is_copied(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    found = refills(full_source)
    assert "retention policy drops old rows of app.metrics" in found["zz_hourly"].reason
    assert "retention policy drops old rows of app.zz_hourly" in found["daily"].reason
    assert found["aa_monthly"].way is RefillWay.RECOMPUTE


def test_an_empty_aggregate_is_recomputed(full_source: Database) -> None:
    full_source.execute(
        "create table public.t (at timestamptz not null, v int);"
        "select public.create_hypertable('public.t', 'at')"
    )
    full_source.execute(
        "create materialized view public.a with (timescaledb.continuous) as"
        " select public.time_bucket('1 day', at) as day, count(*) from public.t group by 1 with no data"
    )
    assert refills(full_source)["a"].way is RefillWay.RECOMPUTE


def test_an_oldest_bucket_that_takes_too_long_is_copied(full_source: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    full_source.execute(
        "create function app.slow(x float8) returns float8 language plpgsql immutable parallel safe as"
        " $$ begin if current_setting('statement_timeout') <> '0' then perform pg_sleep(60); end if;"
        " return x; end $$"
    )
    full_source.execute(
        "create materialized view app.slowly with (timescaledb.continuous) as"
        " select public.time_bucket('1 day', time) as day, sum(app.slow(value)) as s from app.metrics"
        " group by 1 with no data"
    )
    with full_source.connect() as connection:
        connection.execute("call public.refresh_continuous_aggregate('app.slowly', null, null)")
    catalog = catalog_of(full_source)
    with session_on(full_source, Side.SOURCE) as session:
        found = {
            refill.aggregate.table: refill
            for refill in decide_refills(session, catalog, longest_comparison_seconds=5)
        }
        assert session.execute("show statement_timeout").fetchone() == ("0",)
    assert found["slowly"].way is RefillWay.COPY
    assert "within 5 s" in found["slowly"].reason
