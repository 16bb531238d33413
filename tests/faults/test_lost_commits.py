"""Commits that the target loses: none of ours in a crash; after a restored backup the engine refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.lsn import parse_lsn
from tests.conftest import Database
from tests.faults.watched import SLOTS, Watched, Writes
from tests.waiting import wait_until

_CONFIRMED = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'live_sync_test'"
_RECORDED = "select lsn from _ts_live_sync.progress"


@pytest.fixture
def forgetful(target: Database) -> Iterator[None]:
    """An asynchronous commit on the target stays in memory for long, so a crash loses it."""

    def set_delay(assignment: str) -> None:
        target.execute(f"alter system {assignment}")
        target.execute("select pg_reload_conf()")

    set_delay("set wal_writer_delay = '10s'")
    target.execute("alter system set wal_writer_flush_after = '1GB'")
    target.execute(f"alter database {target.name} set synchronous_commit = off")
    target.execute(f"alter role current_user in database {target.name} set synchronous_commit = off")
    yield
    target.server.start()
    target.execute("alter system reset wal_writer_flush_after")
    set_delay("reset wal_writer_delay")


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("crashes", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_a_crash_of_a_target_with_synchronous_commit_off_by_default_loses_nothing(
    crashes: int, source: Database, target: Database
) -> None:
    assert target.query("show synchronous_commit") == [("off",)]
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.wait_ready()
        for _ in range(crashes):
            writes.wait_for_more()
            confirmed = source.query(_CONFIRMED)
            wait_until(lambda confirmed=confirmed: source.query(_CONFIRMED) != confirmed)
            target.server.stop("immediate")
            target.server.start()
            migration.wait_applied()
        assert migration.failures, "no crash was noticed"
        writes.stop()
        migration.wait_applied()
        migration.assert_equal("item", "other")


def test_a_target_behind_what_it_had_confirmed_is_refused_with_words(
    source: Database, target: Database
) -> None:
    with Watched(source, target) as migration:
        migration.wait_ready()
        earlier = str(target.query(_RECORDED)[0][0])
        with Writes(source) as writes:
            writes.wait_for_more()
        migration.wait_applied()
        wait_until(
            lambda: parse_lsn(str(source.query(_CONFIRMED)[0][0])) > parse_lsn(earlier),
            describe=lambda: source.query(_CONFIRMED),
        )
        migration.engine.stop()
        assert migration.engine.join(30)
        # As after restoring a backup of the target.
        target.execute("update _ts_live_sync.progress set lsn = %s", [earlier])
        rows = target.query("select count(*), sum(version) from item")
        confirmed = source.query(_CONFIRMED)
        migration.restart()
        failure = migration.wait_failed()
        assert f"The target is at {earlier}, but it had confirmed {confirmed[0][0]}" in failure.title
        assert "it lost commits (a restored backup" in failure.title
        assert "Start over: livesync-tui drop --subscription test, empty the target tables" in failure.hint
        assert target.query("select count(*), sum(version) from item") == rows
        assert target.query(_RECORDED) == [(earlier,)]
        assert source.query(SLOTS) == [("live_sync_test", False)]
