"""A whole migration and every kind of change, from one major version of PostgreSQL to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from livesync_tui.demo.writer import DemoWriter
from tests.conftest import Database

# The same tests over other servers: pytest collects what a test module imports.
from tests.engine.test_change_kinds import (  # noqa: F401
    test_a_partitioned_source_lands_in_a_plain_table,
    test_full_identity_takes_exactly_one_of_several_equal_rows,
    test_generated_and_identity_columns,
    test_hostile_names,
    test_partitions_by_root_and_by_leaf,
    test_rows_from_before_and_after_the_snapshot_arrive_once,
    test_savepoints_and_rolled_back_work,
    test_several_publications_and_a_refresh,
    test_truncate_of_several_tables_inside_a_transaction,
    test_unchanged_toast_is_kept,
    test_unchanged_toast_under_full_identity,
    test_updates_deletes_and_key_changes,
    way,
)
from tests.engine.test_verify import (  # noqa: F401
    both,
    test_a_value_that_is_written_differently_is_no_difference,
    test_large_tables_are_read_in_ranges_and_differences_narrowed_step_by_step,
    test_rows_that_differ_are_named_by_their_key_and_by_nothing_else,
    test_the_stream_stops_exactly_where_it_is_told_to,
)
from tests.faults.migrating import all_ready, assert_all_equal, prepare, states, wait_drained
from tests.faults.running import RunProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.versions


def test_the_servers_are_of_these_versions(
    versions: tuple[int, int], source_db: Database, target_db: Database
) -> None:
    shown = [int(str(db.query("show server_version_num")[0][0])) // 10000 for db in (source_db, target_db)]
    assert tuple(shown) == versions


def test_a_whole_migration_under_writes_ends_equal(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    prepare(source_db, target_db, rows=20_000)
    log = tmp_path / "run.log"
    writer = DemoWriter(source_db.conninfo, transactions_per_second=100)
    writer.start()
    try:
        with RunProcess(source_db, target_db, log) as process:
            wait_until(
                lambda: all_ready(target_db),
                timeout_seconds=120,
                describe=lambda: (states(target_db), log.read_text()),
            )
            goal = writer.transactions_committed + 200
            wait_until(lambda: writer.transactions_committed > goal, describe=lambda: writer.failure)
            writer.stop()
            assert writer.failure is None
            wait_drained(source_db, target_db)
            assert process.terminate() == 0, log.read_text()
    finally:
        writer.stop()
    assert_all_equal(source_db, target_db)
