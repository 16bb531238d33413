"""Faults that only a table's own sync meets: its links go half-open, its slot is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from engine.lsn import parse_lsn
from engine.snapshot import TableState
from tests.conftest import Database
from tests.faults.migrating import all_ready
from tests.faults.proxy import Way
from tests.faults.running import RunProcess
from tests.faults.watched import DIRECTIONS, SLOTS, Watched, Ways, Writes, name_of, pace
from tests.waiting import wait_until

_KEPT = """
select pid, application_name, state, query from pg_stat_activity
 where datname = current_database()
   and (application_name ~ '^livesync-tui (copy|slot) '
        or application_name ~ '^livesync-tui sync [0-9]' and state <> 'idle')
"""
"""Backends of a table's sync that hold a lock, a snapshot or a slot."""

_SYNC_SLOT = "select slot_name from pg_replication_slots where slot_name ~ '_sync$'"


def wait_catching_up(migration: Watched) -> None:
    """Until changes of item are being applied from its own slot."""

    def is_catching_up() -> bool:
        sleeping = migration.target.query(
            "select 1 from pg_stat_activity where application_name ~ '^livesync-tui sync '"
            " and datname = current_database() and wait_event = 'PgSleep'"
        )
        return bool(sleeping) and any(
            table.source_name == "public.item" and table.state is TableState.FINISHEDCOPY
            for table in migration.snapshot.tables
        )

    wait_until(is_catching_up, describe=lambda: migration.snapshot)


def reach_copy(migration: Watched) -> None:
    """Into the middle of item's copy, which takes its time."""
    migration.wait_mid_copy()


def reach_catch_up(migration: Watched) -> None:
    """Into the changes that were made while item was copied."""
    migration.wait_mid_copy()
    migration.source.execute("insert into item select n, 'at once' from generate_series(5001, 7000) n")
    # Far behind the apply stream, which would otherwise stand still for the hand-over.
    migration.source.query("select pg_logical_emit_message(true, 'x', repeat('x', 8000000))")
    pace(migration.target, 0.0005)
    wait_until(
        lambda: any(
            table.source_name == "public.item" and table.state is TableState.FINISHEDCOPY
            for table in migration.snapshot.tables
        ),
        describe=lambda: migration.snapshot,
    )
    pace(migration.target, 0.02)
    wait_catching_up(migration)


MOMENTS: list[Callable[[Watched], None]] = [reach_copy, reach_catch_up]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("directions", DIRECTIONS, ids=name_of)
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("reach", MOMENTS)
def test_a_half_open_link_of_a_table_s_sync_is_noticed_and_leaves_nothing(
    reach: Callable[[Watched], None], side: str, directions: tuple[Way, ...], ways: Ways
) -> None:
    pace(ways.target, 0.003)
    with ways.migration() as migration, Writes(ways.source) as writes:
        reach(migration)
        proxy = ways.to_source if side == "source" else ways.to_target
        proxy.half_open(*directions)
        proxy.heal()  # For new connections: those there are stay half-open for good.
        pace(ways.target, 0)
        migration.finish(writes)
        for database in (ways.source, ways.target):
            wait_until(
                lambda database=database: database.query(_KEPT) == [],
                describe=lambda database=database: database.query(_KEPT),
            )


def drop_sync_slot(source: Database) -> None:
    """End whoever holds item's own slot and drop it before the engine is back."""

    def dropped() -> bool:
        with source.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots"
                " where slot_name ~ '_sync$' and active"
            )
            slots = connection.execute(_SYNC_SLOT).fetchall()
            try:
                for slot in slots:
                    connection.execute("select pg_drop_replication_slot(%s)", slot)
            except psycopg.errors.ObjectInUse:
                return False
            return bool(slots)

    wait_until(dropped, describe="the slot to be dropped")


@pytest.mark.parametrize(
    "reach", [reach_copy, pytest.param(reach_catch_up, marks=pytest.mark.slow)], ids=["copy", "catch-up"]
)
def test_a_table_whose_own_slot_is_dropped_starts_over_by_itself(
    reach: Callable[[Watched], None], source: Database, target: Database
) -> None:
    pace(target, 0.001)
    with Watched(source, target) as migration, Writes(source) as writes:
        reach(migration)
        wait_until(lambda: len(migration.slots()) == 2, describe=migration.slots)
        drop_sync_slot(source)
        pace(target, 0)
        migration.finish(writes)
        assert any("Somebody dropped the replication slot" in text for text in migration.said())
        assert any("the table is copied again" in text for text in migration.said())


@pytest.fixture
def some_wal(source: Database) -> Iterator[None]:
    """The source keeps enough WAL for a slot that keeps up, and not for one that stands still."""

    def set_limit(value: str) -> None:
        source.execute(f"alter system set max_slot_wal_keep_size = '{value}'")
        source.execute("select pg_reload_conf()")

    set_limit("64MB")
    yield
    set_limit("-1")


def outgrow_sync_slot(source: Database) -> None:
    """Write WAL until the source has removed what item's own slot needs; the apply stream keeps up."""

    def is_lost() -> bool:
        source.query("select pg_logical_emit_message(true, 'x', repeat('x', 1000))")
        written = parse_lsn(str(source.query("select pg_switch_wal()")[0][0]))

        def keeps_up() -> bool:
            source.execute("checkpoint")
            restart = source.query(
                "select restart_lsn from pg_replication_slots where slot_name = 'live_sync_test'"
            )
            return parse_lsn(str(restart[0][0])) >= written

        wait_until(keeps_up, describe=lambda: source.query("select * from pg_replication_slots"))
        return source.query("select wal_status from pg_replication_slots where slot_name ~ '_sync$'") == [
            ("lost",)
        ]

    wait_until(is_lost, describe="the slot to be invalidated")


@pytest.mark.slow
@pytest.mark.usefixtures("some_wal")
@pytest.mark.parametrize("reach", MOMENTS)
def test_a_table_whose_own_slot_lost_its_wal_is_set_aside_with_words_and_can_be_retried(
    reach: Callable[[Watched], None], source: Database, target: Database
) -> None:
    pace(target, 0.003)
    with Watched(source, target) as migration, Writes(source) as writes:
        reach(migration)
        pace(target, 0.05)
        outgrow_sync_slot(source)
        pace(target, 0)
        error = migration.wait_set_aside("public.item")
        assert "removed WAL" in error, error
        assert "Raise max_slot_wal_keep_size on the source, then retry the table" in error
        wait_until(lambda: source.query(SLOTS) == [("live_sync_test", True)], describe=migration.slots)
        item = next(table for table in migration.snapshot.tables if table.source_name == "public.item")
        migration.engine.retry(item.source_oid)
        wait_until(lambda: not migration.snapshot.tables_set_aside, describe=lambda: migration.snapshot)
        migration.finish(writes)


def test_a_goodbye_whose_end_is_lost_holds_up_nobody(
    source: Database, target: Database, ways: Ways, tmp_path: Path
) -> None:
    waiting = (
        "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        " and application_name ~ '^livesync-tui copy '"
    )
    log = tmp_path / "log"
    # A process of its own: were it held up, its proxies and this test would be too.
    with (
        target.connect(autocommit=False) as locker,
        RunProcess(source, target, log, target_conninfo=ways.to_target.conninfo(target.conninfo)) as process,
    ):
        locker.execute("lock table item in share mode")
        wait_until(lambda: target.query(waiting), describe=log.read_text)
        ways.to_target.loses_ends = True
        ((ended,),) = target.query(waiting)
        target.query("select pg_terminate_backend(%s)", [ended])
        wait_until(lambda: [(ended,)] != target.query(waiting) != [], describe=log.read_text)
        ways.to_target.loses_ends = False
        locker.rollback()
        wait_until(lambda: all_ready(target), timeout_seconds=150, describe=log.read_text)
        assert process.terminate() == 0, log.read_text()
    assert target.query("select count(*) from item") == source.query("select count(*) from item")
