"""Chunks that were changed under a copy are told from those that only got or lost rows."""

from __future__ import annotations

import pytest

from engine.errors import Side
from engine.timescaledb.chunk_guard import ChunkStamp, changed_chunks, read_stamps
from tests.conftest import Database
from tests.timescaledb.moving import fill, session_on
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES
from tests.timescaledb.test_full_edition import catalog_of


def stamps(database: Database) -> dict[int, ChunkStamp]:
    with session_on(database, Side.SOURCE) as session:
        return read_stamps(session)


def chunks_of(database: Database, table: str) -> list[int]:
    rows = database.query(f"select c::oid::int8 from public.show_chunks('{table}') c order by 1")
    return [oid for (oid,) in rows]


@pytest.fixture
def source(full_source: Database) -> Database:
    """``app.metrics`` has five chunks, of which the first two are compressed."""
    fill(full_source, HYPERTABLES, AGGREGATES)
    return full_source


@pytest.mark.parametrize(
    ("changed", "statement"),
    [
        (2, "select public.compress_chunk('{2}')"),
        (0, "select public.decompress_chunk('{0}')"),
        (1, "select public.drop_chunks('app.metrics', older_than => '2026-01-03'::timestamptz)"),
    ],
)
def test_a_change_of_a_chunk_is_seen(source: Database, changed: int, statement: str) -> None:
    chunks = chunks_of(source, "app.metrics")
    names = source.query("select c::text from public.show_chunks('app.metrics') c order by c::oid")
    before = stamps(source)
    assert set(chunks) <= before.keys()
    source.execute(statement.format(*(name for (name,) in names)))
    assert chunks[changed] in changed_chunks(before, stamps(source))


def test_changed_batches_and_compressing_once_more_are_seen(source: Database) -> None:
    if catalog_of(source).installation.version < (2, 11):
        pytest.skip("Rows of compressed chunks with a key can be changed since TimescaleDB 2.11")
    first = chunks_of(source, "app.metrics")[0]
    before = stamps(source)
    source.execute("update app.metrics set value = 7 where time = '2026-01-01 00:30:00+00'")
    now = stamps(source)
    assert changed_chunks(before, now) == {first}
    assert now[first].status & 1
    name = source.query("select %s::oid::regclass::text", [first])[0][0]
    source.execute(f"select public.compress_chunk('{name}', if_not_compressed => true)")
    assert changed_chunks(now, stamps(source)) == {first}


def test_rows_that_come_and_go_are_no_change(source: Database) -> None:
    before = stamps(source)
    source.execute(
        "insert into app.metrics values ('2026-01-04 00:31:00+00', 1, 1);"
        "update app.metrics set value = 8 where time >= '2026-01-05';"
        "delete from app.ticks where v = 3;"
        # A new chunk is no change of another.
        "insert into app.metrics values ('2027-01-04 00:31:00+00', 1, 1)"
    )
    after = stamps(source)
    assert changed_chunks(before, after) == frozenset()
    assert len(after) == len(before) + 1


def test_merged_chunks_are_seen(source: Database) -> None:
    if not catalog_of(source).installation.has("merge_chunks"):
        pytest.skip("TimescaleDB has it since 2.18")
    _, _, third, fourth, *_ = chunks_of(source, "app.metrics")
    before = stamps(source)
    with source.connect() as connection:
        connection.execute("call public.merge_chunks(%s::oid::regclass, %s::oid::regclass)", [third, fourth])
    assert changed_chunks(before, stamps(source)) == {third, fourth}


def test_some_can_be_asked_for(source: Database) -> None:
    first = chunks_of(source, "app.metrics")[0]
    with session_on(source, Side.SOURCE) as session:
        assert read_stamps(session, (first,)).keys() == {first}
        assert read_stamps(session, ()) == {}


def test_the_apache_edition_has_stamps_too(apache_source: Database) -> None:
    fill(apache_source, HYPERTABLES)
    found = stamps(apache_source)
    assert set(chunks_of(apache_source, "app.metrics")) <= found.keys()
    assert {stamp.status for stamp in found.values()} == {0}
