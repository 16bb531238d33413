"""Hypertables with a columnstore through a running engine; for the full edition."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.timescaledb.moving import fill
from tests.timescaledb.samples import HYPERTABLES
from tests.timescaledb.test_replication import drained, refusal
from tests.waiting import wait_until

_METRICS = """
create table metrics (at timestamptz not null, device int not null, v int, note text,
                      primary key (device, at));
select create_hypertable('metrics', 'at', chunk_time_interval => interval '1 day');
create table events (at timestamptz not null, device int, v int);
select create_hypertable('events', 'at', chunk_time_interval => interval '1 day');
"""

_COMPRESSION = """
alter table metrics set (timescaledb.compress, timescaledb.compress_segmentby = 'device');
alter table events set (timescaledb.compress, timescaledb.compress_segmentby = 'device');
"""

_ROWS = """
insert into metrics select '2026-01-01 00:30:00+00'::timestamptz + i * interval '10 minutes', d, i, 'n' || i
  from generate_series(0, 1000) i, generate_series(1, 3) d;
insert into events select '2026-01-01 00:30:00+00'::timestamptz + i * interval '10 minutes', i % 3, i
  from generate_series(0, 1000) i;
"""

_COMPRESS = "select compress_chunk(c) from show_chunks('{}') c order by c limit {}"

_INVISIBLE = "timescaledb.enable_compressed_direct_batch_delete"


def _version(database: Database) -> tuple[int, ...]:
    text = database.query("select extversion from pg_extension where extname = 'timescaledb'")[0][0]
    return tuple(int(part) for part in text.split("-")[0].split("."))


@pytest.fixture
def columnstores(full_source: Database, full_target: Database) -> tuple[Database, Database]:
    """Both sides with the tables, the source's chunks compressed in part."""
    if _version(full_source) < (2, 16):
        pytest.skip("no markers before 2.16")
    for database in (full_source, full_target):
        fill(database, _METRICS)
    fill(full_source, _COMPRESSION, _ROWS)
    full_source.execute("alter table events replica identity full")
    for name in ("metrics", "events"):
        full_source.execute(_COMPRESS.format(name, 4))
    # A chunk of both kinds of rows.
    full_source.execute("insert into metrics values ('2026-01-01 00:00:01+00', 1, -1, 'late')")
    if full_source.query(f"select current_setting('{_INVISIBLE}', true)")[0][0] is not None:
        full_source.execute(f'alter database "{full_source.name}" set {_INVISIBLE} = off')
    full_source.execute("create publication pub for table metrics, events")
    return full_source, full_target


def test_compressed_chunks_are_copied_and_followed(columnstores: tuple[Database, Database]) -> None:
    source, _ = columnstores
    with Migration(*columnstores) as migration:
        migration.wait_ready()
        migration.assert_equal("metrics", "events")
        source.execute("update metrics set note = 'changed' where device = 1 and v % 50 = 0")
        source.execute("delete from metrics where device = 2 and v < 30")
        # Whole batches.
        source.execute("delete from metrics where device = 3 and at < '2026-01-03 00:00:00+00'")
        source.execute("update events set v = v + 1 where device = 1 and v < 100")
        source.execute("delete from events where device = 2 and at < '2026-01-02 00:00:00+00'")
        source.execute(
            "insert into metrics select at, device, v, 'again' from metrics where v % 100 = 1"
            " on conflict (device, at) do update set note = excluded.note"
        )
        source.execute("select compress_chunk(c, true) from show_chunks('metrics') c")
        source.execute("select decompress_chunk(c) from show_chunks('events') c order by c limit 2")
        source.execute(
            "begin; insert into events values ('2026-01-03', 1, 7);"
            " select compress_chunk(c, true) from show_chunks('events') c;"
            " insert into events values ('2026-01-03', 1, 8); commit"
        )
        source.execute("update metrics set v = v + 10000 where v % 90 = 3")
        assert drained(migration).reached
        migration.assert_equal("metrics", "events")


def test_compressing_while_chunks_are_copied(columnstores: tuple[Database, Database]) -> None:
    source, _ = columnstores
    with Migration(*columnstores, sync_workers=1) as migration:
        wait_until(lambda: any(table.rows_copied for table in migration.snapshot.tables))
        for _ in range(3):
            source.execute("select decompress_chunk(c, true) from show_chunks('metrics') c")
            source.execute("update metrics set v = v + 1 where device = 1")
            source.execute("select compress_chunk(c, true) from show_chunks('metrics') c")
            source.execute("update metrics set v = v + 1 where device = 2 and v % 10 = 0")
        assert drained(migration).reached
        migration.assert_equal("metrics", "events")


def test_invisible_deletes_are_refused(columnstores: tuple[Database, Database]) -> None:
    source, target = columnstores
    if source.query(f"select current_setting('{_INVISIBLE}', true)")[0][0] is None:
        pytest.skip("deletes of whole batches came with 2.17")
    source.execute(f'alter database "{source.name}" reset {_INVISIBLE}')
    assert _INVISIBLE in refusal(source, target)


def test_direct_compress_is_refused(columnstores: tuple[Database, Database]) -> None:
    source, target = columnstores
    if _version(source) < (2, 29):
        pytest.skip("tables have the option since 2.29")
    source.execute("alter table events set (timescaledb.direct_compress = true)")
    assert "direct_compress" in refusal(source, target)


def test_compression_before_markers_is_refused(full_source: Database, full_target: Database) -> None:
    if _version(full_source) >= (2, 16):
        pytest.skip("has markers")
    for database in (full_source, full_target):
        fill(database, _METRICS)
    full_source.execute("create publication pub for table metrics")
    fill(full_source, _COMPRESSION)
    assert "does not mark" in refusal(full_source, full_target)


def test_merged_chunks_are_set_aside(columnstores: tuple[Database, Database]) -> None:
    source, _ = columnstores
    if _version(source) < (2, 18):
        pytest.skip("chunks are merged since 2.18")
    with Migration(*columnstores) as migration:
        migration.wait_ready()
        source.execute("select decompress_chunk(c, true) from show_chunks('events') c")
        listed = source.query("select c::text from show_chunks('events') c order by c limit 2")
        first, second = (str(row[0]) for row in listed)
        with source.connect() as connection:
            connection.execute(f"call merge_chunks('{first}', '{second}')")
        assert "merged or split" in migration.wait_set_aside(second)


def test_hypertables_without_a_columnstore_from_any_release(
    full_source: Database, full_target: Database
) -> None:
    for database in (full_source, full_target):
        fill(database, HYPERTABLES)
    names = ("app.metrics", "app.spread", "app.elsewhere")
    for name in names:
        full_target.execute(f"truncate {name}")
    full_source.execute(f"create publication pub for table {', '.join(names)}")
    with Migration(full_source, full_target) as migration:
        migration.wait_ready()
        full_source.execute("update app.metrics set value = -value where device = 1")
        full_source.execute("insert into app.metrics values ('2027-01-01', 1, 1)")
        full_source.execute("delete from app.metrics where device = 2")
        full_source.execute("insert into app.spread values ('2027-01-01', 'd', 'e', 1, 1)")
        full_source.execute("insert into app.elsewhere values ('2027-01-01', 1)")
        assert drained(migration).reached
        migration.assert_equal(*names)
        full_source.execute("truncate app.metrics")
        migration.wait_applied()
        migration.assert_equal("app.metrics")
