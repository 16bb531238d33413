"""SIGKILL of ``livesync-tui run`` in mid-copy and in mid-apply, under live writes."""

from __future__ import annotations

import random
from pathlib import Path

from livesync_tui.demo.writer import DemoWriter
from tests.conftest import Database
from tests.faults.migrating import all_ready, assert_all_equal, prepare, states, wait_drained, wait_moved
from tests.faults.running import RunProcess
from tests.waiting import wait_until


def test_killed_during_copy_and_during_apply(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    prepare(source_db, target_db, rows=120_000)
    log = tmp_path / "run.log"
    chance = random.Random(20261121)
    writer = DemoWriter(source_db.conninfo, transactions_per_second=300)
    writer.start()
    try:
        killed_while_copying = 0
        while killed_while_copying < 4:
            with RunProcess(source_db, target_db, log) as process:
                wait_until(
                    lambda: states(target_db).keys() & {"d", "f"} or all_ready(target_db),
                    describe=lambda: (states(target_db), log.read_text()),
                )
                assert not all_ready(target_db), "the copy ended before it could be interrupted"
                wait_until(lambda: chance.random() < 0.2, describe="a random moment")
                killed_while_copying += 1
                process.kill()
        committed = writer.transactions_committed
        for _ in range(4):
            with RunProcess(source_db, target_db, log) as process:
                wait_until(
                    lambda: all_ready(target_db),
                    timeout_seconds=150,
                    describe=lambda: (states(target_db), log.read_text()),
                )
                wait_moved(target_db)
                wait_until(lambda: chance.random() < 0.2, describe="a random moment")
                process.kill()
        with RunProcess(source_db, target_db, log) as process:
            goal = max(committed, writer.transactions_committed) + 200
            wait_until(lambda: writer.transactions_committed > goal, describe=lambda: writer.failure)
            writer.stop()
            assert writer.failure is None
            wait_drained(source_db, target_db)
            assert all_ready(target_db)
            assert process.terminate() == 0, log.read_text()
    finally:
        writer.stop()
    assert_all_equal(source_db, target_db)
    left = source_db.query("select slot_name from pg_replication_slots where database = current_database()")
    assert left == [("live_sync_night",)]


def test_stopped_in_order_resumes_where_it_was(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    prepare(source_db, target_db, rows=5_000)
    log = tmp_path / "run.log"
    with RunProcess(source_db, target_db, log) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        assert process.terminate() == 0, log.read_text()
    source_db.execute("update shop.products set name = name || '!' ")
    copied = target_db.query("select sum(rows_copied) from _ts_live_sync.subscription_rel")
    with RunProcess(source_db, target_db, log) as process:
        wait_drained(source_db, target_db)
        assert process.terminate() == 0, log.read_text()
    assert target_db.query("select sum(rows_copied) from _ts_live_sync.subscription_rel") == copied
    assert_all_equal(source_db, target_db)
