"""Hypertables of every kind read the same on the other side, with the Apache edition on both."""

from __future__ import annotations

from engine.catalog.table import TableName
from engine.errors import Side
from engine.script.planned import Script
from engine.timescaledb.hypertable import Extent, Hypertable, RoutineName
from engine.timescaledb.installation import Edition
from engine.timescaledb.made import TimescaleMade, read_made
from engine.timescaledb.plan import plan_timescaledb
from engine.timescaledb.read_catalog import read_catalog, read_installation
from engine.timescaledb.read_chunks import read_chunks
from tests.conftest import Database
from tests.timescaledb.moving import (
    apply,
    archive_of,
    fill,
    left_to_do,
    migrate_schema,
    plan,
    restore,
    session_on,
)
from tests.timescaledb.samples import HYPERTABLES


def hypertables(database: Database) -> dict[str, Hypertable]:
    with session_on(database, Side.SOURCE) as session:
        catalog = read_catalog(session, Side.SOURCE)
    assert catalog is not None
    return {table.name.table: table for table in catalog.hypertables}


def script(scripts: tuple[Script, ...], file_name: str) -> Script:
    return next(script for script in scripts if script.file_name == file_name)


def test_every_kind_of_dimension_comes_over(apache_source: Database, apache_target: Database) -> None:
    fill(apache_source, HYPERTABLES)
    assert migrate_schema(apache_source, apache_target) == []
    assert hypertables(apache_source) == hypertables(apache_target)
    assert left_to_do(plan(apache_source, apache_target)) == []
    done = plan(apache_source, apache_target).with_the_schema
    assert len(script(done, "create_hypertables.sql").already_there) == 9

    there = hypertables(apache_target)
    assert there["ticks"].dimensions[0].extent == Extent(86_400_000, is_integer=True)
    assert there["ticks"].dimensions[0].integer_now == RoutineName("app", "ticks_now")
    assert there["plain_time"].dimensions[0].extent == Extent(36 * 3_600_000_000, is_integer=False)
    assert [one.partitions for one in there["spread"].dimensions] == [None, 4, 3, None]
    assert there["spread"].dimensions[2].partitioning == RoutineName("app", "my_hash")
    assert there["documents"].dimensions[0].partitioning == RoutineName("app", "time_of")
    assert (there["elsewhere"].chunk_schema, there["elsewhere"].chunk_prefix) == ("chunks_of_mine", "part")

    # Rows go into chunks by these rules.
    insert = """insert into app.documents values ('{"days": 9001}', 1);
                insert into app.ticks values (1767225600000, 1, 1);
                insert into app.elsewhere values ('2026-01-01', 1)"""
    apache_target.execute(insert)
    assert apache_target.query("select count(*) from public.show_chunks('app.documents')") == [(1,)]
    assert apache_target.query(
        "select schemaname from pg_tables where tablename like 'part\\_%\\_chunk'"
    ) == [("chunks_of_mine",)]


def test_no_index_is_made_that_the_source_does_not_have(
    apache_source: Database, apache_target: Database
) -> None:
    fill(apache_source, HYPERTABLES)
    assert migrate_schema(apache_source, apache_target) == []
    query = "select schemaname, tablename, indexdef from pg_indexes where schemaname = 'app' order by 1, 2, 3"
    assert apache_target.query(query) == apache_source.query(query)


def test_chunks_are_not_restored_wherever_they_are(apache_source: Database) -> None:
    fill(apache_source, HYPERTABLES)
    found = archive_of(apache_source)
    tables = {entry.name for entry in found.kept if entry.kind == "TABLE"}
    assert tables == {
        "metrics", "plain_time", "days", "ticks", "small_ticks", "spread", "documents", "elsewhere",
        "ordinary",
        'Ta\'ble "x"',
    }  # fmt: skip
    assert {entry.name for entry in found.kept if entry.kind == "INDEX"} == {
        "elsewhere_v",
        "plain_time_at_idx",
    }
    assert any(entry.name.startswith("part_") for entry in found.left_out)
    # Releases before 2.23 have triggers that another one's hypertables must not get.
    assert not [entry for entry in found.kept if entry.kind == "TRIGGER"]
    assert found.later == ()


def test_a_trigger_of_the_user_stays(apache_source: Database) -> None:
    fill(apache_source, HYPERTABLES)
    apache_source.execute(
        "create function app.f() returns trigger language plpgsql as 'begin return new; end';"
        "create trigger mine before insert on app.metrics for each row execute function app.f()"
    )
    kept = [entry.name for entry in archive_of(apache_source).kept if entry.kind == "TRIGGER"]
    assert kept == ["metrics mine"]


def test_views_on_chunks_are_left_out_with_them(apache_source: Database) -> None:
    fill(apache_source, HYPERTABLES)
    apache_source.execute(
        """do $$ begin
             execute format('create view app.peeks as select * from %s',
                            (select c from public.show_chunks('app.metrics') c limit 1));
           end $$"""
    )
    apache_source.execute("create view app.counts as select count(*) from _timescaledb_catalog.chunk")
    found = archive_of(apache_source)
    assert "counts" in {entry.name for entry in found.kept}
    assert "peeks" in {entry.name for entry in found.left_out}
    assert "peeks" not in {entry.name for entry in found.kept}


def test_extents_that_differ_are_changed(apache_source: Database, apache_target: Database) -> None:
    fill(apache_source, HYPERTABLES)
    assert migrate_schema(apache_source, apache_target) == []
    apache_target.execute(
        "select public.set_chunk_time_interval('app.metrics', interval '3 days');"
        "select public.set_chunk_time_interval('app.ticks', 5000);"
        "select public.set_number_partitions('app.spread', 7, 'd');"
        "create function app.other_now() returns bigint language sql stable as 'select 1::bigint';"
        "select public.set_integer_now_func('app.ticks', 'app.other_now', replace_if_exists => true)"
    )
    planned = plan(apache_source, apache_target)
    assert left_to_do(planned) == [
        "hypertable app.metrics: dimension time: extent of new chunks",
        "hypertable app.ticks: dimension t: extent of new chunks",
        "hypertable app.ticks: what says the present moment",
        "hypertable app.spread: dimension d: number of partitions",
    ]
    assert apply(apache_target, planned.with_the_schema) == []
    assert left_to_do(plan(apache_source, apache_target)) == []


def test_a_hypertable_that_is_cut_in_another_way_is_left_alone(
    apache_source: Database, apache_target: Database
) -> None:
    fill(apache_source, HYPERTABLES)
    restore(apache_target, archive_of(apache_source).kept)
    apache_target.execute(
        "alter table app.ticks add other timestamptz;"
        "select public.create_hypertable('app.ticks', public.by_range('other'))"
    )
    made = script(plan(apache_source, apache_target).with_the_schema, "create_hypertables.sql")
    ticks = [statement for statement in made.statements if statement.about == "hypertable app.ticks"]
    assert len(ticks) == 1
    assert "cut in another way" in ticks[0].set_apart


def test_reads_which_edition_it_is(apache_source: Database, source_db: Database) -> None:
    with session_on(apache_source, Side.SOURCE) as session:
        installation = read_installation(session, Side.SOURCE)
    assert installation is not None
    assert installation.edition is Edition.APACHE
    assert installation.version >= (2, 19)
    assert installation.takes("create_hypertable", "create_default_indexes")
    assert not installation.takes("create_hypertable", "dance")
    with session_on(source_db, Side.SOURCE) as session:
        assert read_installation(session, Side.SOURCE) is None
        assert read_catalog(session, Side.SOURCE) is None
        assert read_made(session, Side.SOURCE) == TimescaleMade()
        assert plan_timescaledb(session, session) is None


def test_chunks_are_known_by_oid(apache_source: Database) -> None:
    fill(apache_source, HYPERTABLES)
    with session_on(apache_source, Side.SOURCE) as session:
        chunks = read_chunks(session, Side.SOURCE)
    expected = apache_source.query(
        "select c.oid::int8, n.nspname, c.relname, i.inhparent::int8 from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace join pg_inherits i on i.inhrelid = c.oid"
        " where c.relname like '%\\_chunk' order by 1"
    )
    assert [
        (chunk.oid, chunk.name.schema, chunk.name.table, chunk.hypertable_oid)
        for chunk in sorted(chunks.values(), key=lambda chunk: chunk.oid)
    ] == expected
    elsewhere = [chunk for chunk in chunks.values() if chunk.hypertable == TableName("app", "elsewhere")]
    assert {chunk.name.schema for chunk in elsewhere} == {"chunks_of_mine"}
    assert not any(chunk.is_compressed or chunk.is_tiered for chunk in chunks.values())
