"""What is said of a copy while it goes on: the servers' own counters agree, and an estimate stays one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest

from engine.catalog.table import TableName
from engine.replication.copy_rates import CopyRates
from engine.replication.monitor import Monitor
from engine.replication.state import TableRow
from engine.snapshot import CopyRate, CopyTotal, TableProgress, TableState
from tests.app.test_bad_input import command
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until

ROWS = 60_000
HELD_ROW = 10_000

FILL = f"insert into item select n, repeat(md5(n::text), 32) from generate_series(1, {ROWS}) n"
"""About 60 MB, several times what can be in flight."""

GATES = f"""
create function wait_at_gate() returns trigger language plpgsql as $$
begin
    perform pg_catalog.pg_advisory_xact_lock_shared(tg_argv[0]::int);
    return new;
end $$;
create trigger halfway before insert on item for each row when (new.id = {HELD_ROW})
    execute function wait_at_gate(1);
create trigger at_the_end after insert on item for each statement execute function wait_at_gate(2);
alter table item enable always trigger halfway;
alter table item enable always trigger at_the_end;
"""

COUNTERS = """
select tuples_processed, bytes_processed from pg_stat_progress_copy
 where datname = current_database() and relid = 'item'::regclass
"""

STATEMENT = """
select query from pg_stat_activity
 where datname = current_database() and application_name ~ '^livesync-tui' and query ~ '^copy .*item'
"""

MOST_IN_FLIGHT_BYTES = 20 * 1024 * 1024
"""Between two counters: the 256 KiB that the engine hands over at a time, and what the kernel takes before it
lets a sender wait, which is several MB once it has seen that the receiver is fast."""


class Counters(NamedTuple):
    """One copy as somebody counts it."""

    rows: int
    size_bytes: int


def counters(database: Database) -> Counters | None:
    """The server's own; None while it copies nothing into or out of the table."""
    found = database.query(COUNTERS)
    return Counters(*found[0]) if found else None


def ours(migration: Migration) -> Counters:
    """A snapshot's, of a moment after this was called."""
    seen = migration.snapshot.seq
    wait_until(lambda: migration.snapshot.seq > seen + 1)
    (table,) = migration.snapshot.tables
    return Counters(table.rows_copied, table.bytes_copied)


def test_the_servers_own_counters_agree_with_ours(source_db: Database, target_db: Database) -> None:
    for database in (source_db, target_db):
        database.execute("create table item (id int primary key, body text)")
    for statement in (FILL, "analyze item", "create publication pub for table item"):
        source_db.execute(statement)
    target_db.execute(GATES)
    with (
        target_db.connect() as halfway,
        target_db.connect() as at_the_end,
        Migration(source_db, target_db) as migration,
    ):
        halfway.execute("select pg_advisory_lock(1)")
        at_the_end.execute("select pg_advisory_lock(2)")

        def held() -> Counters | None:
            found = counters(target_db)
            return found if found is not None and found.rows == HELD_ROW - 1 else None

        target = wait_until(held, describe=lambda: migration.snapshot)
        assert target is not None
        # The kernel goes on taking what the engine sends, but the engine counts it in pieces of 256 KiB.
        wait_until(
            lambda: ours(migration).size_bytes >= target.size_bytes, describe=lambda: migration.snapshot
        )
        # Each only grows, so the order of reading makes the comparison strict.
        source_before = counters(source_db)
        halfway_there = ours(migration)
        source_after = counters(source_db)
        assert source_before is not None
        assert source_after is not None
        assert target.rows <= halfway_there.rows <= source_after.rows < ROWS
        assert target.size_bytes <= halfway_there.size_bytes <= source_after.size_bytes
        assert source_before.size_bytes - halfway_there.size_bytes <= MOST_IN_FLIGHT_BYTES
        assert halfway_there.size_bytes - target.size_bytes <= MOST_IN_FLIGHT_BYTES
        statement = source_db.query(STATEMENT)[0][0]

        (table,) = migration.snapshot.tables
        total = migration.snapshot.copy_total
        assert table.copied_percent == table.rows_copied * 100 // ROWS
        assert total.percent in (table.copied_percent, table.copied_percent - 1)  # Rounded twice.
        assert (total.rows, total.size_bytes) == (table.rows_copied, table.bytes_copied)
        recorded = "select rows_copied from _ts_live_sync.subscription_rel"
        wait_until(lambda: target_db.query(recorded)[0][0] >= halfway_there.rows)
        as_json = command("status", "--subscription", "test", "--json", target=target_db.conninfo)
        (shown,) = json.loads(as_json.stdout)["tables"]
        assert shown["rows_copied"] >= halfway_there.rows
        assert shown["copied_percent"] == shown["rows_copied"] * 100 // ROWS
        assert shown["copy_seconds_left"] is None  # Whoever looks once cannot tell.

        halfway.execute("select pg_advisory_unlock_all()")

        def all_there() -> bool:
            found = counters(target_db)
            return found is not None and found.rows == ROWS and ours(migration) == found

        wait_until(all_there, describe=lambda: (counters(target_db), migration.snapshot))
        assert migration.snapshot.tables[0].copied_percent == 99
        with source_db.connect() as connection, connection.cursor().copy(statement) as copy:
            assert sum(len(block) for block in copy) == ours(migration).size_bytes
        at_the_end.execute("select pg_advisory_unlock_all()")
        migration.wait_ready()
        assert migration.snapshot.copy_total.percent == 100
        assert migration.snapshot.copy_total.rate is None


# Rates and estimates, from counters at chosen moments.

ROW_BYTES = 10_000
SIZE_BYTES = 100_000_000


def table(rows: int = 0, of: int | None = 1000, oid: int = 1, **changes: object) -> TableProgress:
    """A table that is being copied, of about a tenth as many bytes in the stream as on disk."""
    progress = TableProgress(
        source_oid=oid,
        source_name=f"public.t{oid}",
        target_name=f"public.t{oid}",
        state=TableState.DATASYNC,
        rows_copied=rows,
        bytes_copied=rows * ROW_BYTES,
        approximate_rows=of,
        approximate_size_bytes=SIZE_BYTES,
        changes_applied=0,
        activity="copying",
        last_error=None,
        state_since=None,
    )
    return replace(progress, **changes)  # type: ignore[arg-type]


def watched(*moments: Sequence[TableProgress]) -> list[tuple[CopyRate | None, CopyTotal]]:
    """What is said, second by second, of the first table and of all."""
    rates = CopyRates()
    said = []
    for second, tables in enumerate(moments):
        shown, total = rates.observe(tables, float(second))
        said.append((shown[0].copy_rate, total))
    return said


def test_rate_and_time_left_come_from_the_last_seconds() -> None:
    rate, total = watched([table(0)], [table(100)], [table(200)])[-1]
    assert rate == CopyRate(rows_per_second=100.0, bytes_per_second=100.0 * ROW_BYTES, seconds_left=8.0)
    assert rate.time_left == "8 s"
    assert total.rate == rate
    # A burst, then half a minute at a tenth of its speed.
    rows = [0, 500, *range(510, 810, 10)]
    rate, total = watched(*([table(count)] for count in rows))[-1]
    assert rate is not None
    assert rate.rows_per_second == pytest.approx(10)
    assert rate.seconds_left == pytest.approx(20)
    assert total.rate is not None
    assert total.rate.seconds_left == pytest.approx(20)


def test_waiting_for_the_copy_to_begin_does_not_slow_it_down() -> None:
    waiting = [table(0, state=TableState.INIT)] * 20
    rate, total = watched(*([each] for each in waiting), [table(300)])[-1]
    assert rate == total.rate == CopyRate(300.0, 300.0 * ROW_BYTES, pytest.approx(7 / 3))


def test_the_total_takes_more_than_a_few_rows_to_tell_its_end() -> None:
    rate, total = watched([table(0)], [table(10)])[-1]
    assert rate is not None
    assert total.rate is not None
    assert (rate.seconds_left, total.rate.seconds_left) == (99.0, None)


def test_a_table_that_starts_over_has_no_negative_rate() -> None:
    rows = [0, 400, 800, 0, 100, 200, 50, 150]
    said = watched(*([table(count)] for count in rows))
    for rate, total in said:
        for each in (rate, total.rate):
            assert each is None or each.rows_per_second >= 0
            assert each is None or each.bytes_per_second >= 0
    assert said[3][0] is None
    assert said[-1][0] == CopyRate(100.0, 100.0 * ROW_BYTES, 8.5)
    assert said[-1][1].percent == 15


def test_a_copy_that_stands_still_has_no_end() -> None:
    rate, total = watched([table(0)], *([table(500)] for _ in range(20)))[-1]
    assert rate == total.rate == CopyRate(0.0, 0.0, None)


@pytest.mark.parametrize(
    ("rows", "of", "percent", "exceeds"),
    [
        (0, None, 0, False),
        (10, None, None, False),
        (10, 0, None, False),
        (999, 1000, 99, False),
        (1000, 1000, 99, False),
        (1001, 1000, None, True),
    ],
)
def test_a_share_is_only_said_on_a_basis(
    rows: int, of: int | None, percent: int | None, exceeds: bool
) -> None:
    assert table(rows, of).copied_percent == percent
    assert table(rows, of).exceeds_estimate is exceeds
    rate, total = watched([table(0, of)], [table(rows, of)])[-1]
    assert (total.percent, total.exceeds_estimate) == (percent, exceeds)
    if percent is None:
        assert rate is not None
        assert rate.seconds_left is None
        assert total.rate is not None
        assert total.rate.seconds_left is None
    done = table(rows, of, state=TableState.FINISHEDCOPY)
    assert (done.copied_percent, done.exceeds_estimate) == (100, False)


def test_tables_count_by_their_size_in_the_total() -> None:
    large = table(0, of=10, oid=2, approximate_size_bytes=9 * SIZE_BYTES, state=TableState.INIT)
    (rate, total) = watched([table(0), large], [table(500), large])[-1]
    assert rate is not None
    assert rate.seconds_left == 1.0
    assert total.percent == 5
    # The stream of the first is a tenth of its size on disk; so is, as far as we know, the other's.
    assert total.rate is not None
    assert total.rate.seconds_left == pytest.approx((500 + 9000) / 500)
    finished = replace(table(1000), state=TableState.READY)
    assert watched([finished, large])[-1][1].percent == 10
    aside = replace(large, last_error="x")
    assert watched([finished, aside])[-1][1].percent == 100


def test_a_small_table_of_unknown_length_does_not_hide_the_total() -> None:
    small = table(7, of=0, oid=2, approximate_size_bytes=SIZE_BYTES // 100)
    assert watched([table(500), small])[-1][1].percent == 49
    assert watched([table(500), replace(small, approximate_size_bytes=SIZE_BYTES)])[-1][1].percent is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3_540, "59 min"),
        (3_590, "1 h 00 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_time_left_is_as_coarse_as_an_estimate(seconds: float, words: str) -> None:
    assert CopyRate(1, 1, seconds).time_left == words


def test_a_refresh_does_not_set_a_running_copy_back() -> None:
    name = TableName("public", "item")
    row = TableRow(
        1, "pub", name, name, TableState.DATASYNC, None, None, False, 500, 50_000, 1000, SIZE_BYTES
    )
    monitor = Monitor()
    monitor.load([row])
    monitor.activity(1, "copying")
    monitor.copied(1, 700, 70_000)
    monitor.load([row])
    (kept,) = monitor.tables()
    assert (kept.rows_copied, kept.bytes_copied, kept.activity) == (700, 70_000, "copying")
    monitor.set_aside(1, "broken")
    monitor.load([replace(row, state=TableState.INIT, rows_copied=0, bytes_copied=0)])
    (reset,) = monitor.tables()
    assert (reset.rows_copied, reset.activity, reset.last_error) == (
        0,
        "waiting for a free sync worker",
        None,
    )
