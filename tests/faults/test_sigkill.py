"""SIGKILL of ``livesync-tui run`` in mid-copy and in mid-apply, under live writes."""

from __future__ import annotations

import random
from pathlib import Path

from engine.cutover.compare import compare_tables
from engine.schema.dump import dump_schema
from engine.schema.restore import apply_script

from engine.catalog.publication_plan import apply_plan, plan_publication
from engine.catalog.tables import list_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.lsn import parse_lsn
from livesync_tui.demo.dataset import create_demo
from livesync_tui.demo.writer import DemoWriter
from tests.conftest import Database
from tests.faults.running import RunProcess
from tests.waiting import wait_until

_STATES = "select state, count(*)::int from _ts_live_sync.subscription_rel group by state"
_HAS_STATE = "select to_regclass('_ts_live_sync.subscription_rel') is not null"


def prepare(source_db: Database, target_db: Database, *, rows: int) -> None:
    """Fill the source, restore its schema on the target, publish every table."""
    source = parse_endpoint(Side.SOURCE, source_db.conninfo)
    target = parse_endpoint(Side.TARGET, target_db.conninfo)
    create_demo(source_db.conninfo, rows=rows)
    outcome = apply_script(target, dump_schema(source, 160000).text)
    assert outcome.applied, outcome.error
    with open_session(source, "test") as session:
        tables = [table.name for table in list_tables(session)]
        apply_plan(session, plan_publication(session, "pub", tables))


def states(target: Database) -> dict[str, int]:
    """How many tables are in each state; empty before there is any state."""
    if target.query(_HAS_STATE) != [(True,)]:
        return {}
    return dict(target.query(_STATES))


def all_ready(target: Database) -> bool:
    return set(states(target)) == {"r"}


def wait_drained(source: Database, target: Database) -> None:
    """Until everything written so far has been applied."""
    fence = parse_lsn(str(source.query("select pg_current_wal_insert_lsn()")[0][0]))

    def position() -> int:
        return parse_lsn(str(target.query("select lsn from _ts_live_sync.progress")[0][0]))

    wait_until(lambda: position() >= fence, timeout_seconds=60, describe=lambda: (position(), fence))


def wait_moved(target: Database) -> None:
    """Until the apply stream has committed something more."""
    before = target.query("select lsn from _ts_live_sync.progress")
    wait_until(lambda: target.query("select lsn from _ts_live_sync.progress") != before)


def assert_all_equal(source_db: Database, target_db: Database) -> None:
    source = parse_endpoint(Side.SOURCE, source_db.conninfo)
    target = parse_endpoint(Side.TARGET, target_db.conninfo)
    with open_session(source, "test") as session:
        pairs = [(table.name, table.name) for table in list_tables(session)]
    compared = compare_tables(source, target, pairs, lambda progress: None)
    assert len(compared) == len(pairs)
    assert sum(table.source_rows for table in compared) > 1000
    assert [table for table in compared if not table.equal] == []


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
                    timeout_seconds=60,
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
