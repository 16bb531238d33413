"""What ``livesync-tui run`` and ``status`` say to a log and to a program that watches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from engine.snapshot import CopyRate, CopyTotal, Phase
from livesync_tui.run_command import summary
from tests.app.test_bad_input import command
from tests.conftest import Database
from tests.faults.migrating import all_ready, wait_drained
from tests.faults.running import RunProcess
from tests.screens.fake_services import copying_snapshot
from tests.waiting import wait_until


def lines_of(log: Path) -> list[dict[str, object]]:
    """The complete lines of a JSON log."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_lock_on_the_target_is_named_while_applying_waits_for_it(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    for database in (source_db, target_db):
        database.execute("create table item (id int primary key)")
    source_db.execute("create publication pub for table item")
    log = tmp_path / "log"
    with RunProcess(source_db, target_db, log, arguments=("--log-format", "json")) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        with target_db.connect(application_name="nightly") as blocker, blocker.transaction():
            blocker.execute("lock table item")
            source_db.execute("insert into item values (1)")

            def warned() -> bool:
                return any("The apply stream waits for" in str(line["message"]) for line in lines_of(log))

            def summarized() -> bool:
                return any(line.get("waiting_for") for line in lines_of(log))

            wait_until(warned, describe=log.read_text)
            wait_until(summarized, describe=log.read_text)
            holder = f"a lock on public.item on the target that pid {blocker.info.backend_pid} holds"
        wait_drained(source_db, target_db)
        assert process.terminate() == 0, log.read_text()
    lines = lines_of(log)
    warning = next(line for line in lines if "The apply stream waits for" in str(line["message"]))
    assert warning["level"] == "warning"
    assert holder in str(warning["message"])
    waiting = next(line for line in lines if line.get("waiting_for"))
    assert holder in str(waiting["waiting_for"])
    assert f"applying waits for {holder} (postgres, nightly" in str(waiting["message"])
    assert lines[-1]["waiting_for"] is None


def test_status_fails_while_a_table_is_set_aside(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    for database in (source_db, target_db):
        database.execute("create table item (id int primary key); create table other (id int primary key)")
    target_db.execute("alter table item add constraint small check (id < 10)")
    source_db.execute("insert into item values (1); create publication pub for table item, other")
    status = ("status", "--subscription", "night")
    log = tmp_path / "log"
    with RunProcess(source_db, target_db, log) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        healthy = command(*status, target=target_db.conninfo)
        assert healthy.returncode == 0, healthy.stdout + healthy.stderr
        source_db.execute("insert into item values (11)")
        wait_until(lambda: "set aside" in log.read_text(), describe=log.read_text)
        failed = command(*status, target=target_db.conninfo)
        assert failed.returncode == 1
        assert 'violates check constraint "small"' in failed.stdout
        as_json = command(*status, "--json", target=target_db.conninfo)
        assert as_json.returncode == 1
        errors = {table["source"]: table["last_error"] for table in json.loads(as_json.stdout)["tables"]}
        assert errors["public.other"] is None
        assert 'violates check constraint "small"' in errors["public.item"]
        assert process.terminate() == 0, log.read_text()
    # Nobody runs it any more, and it is still not well.
    assert command(*status, target=target_db.conninfo).returncode == 1


def test_a_copy_is_summarized_with_its_speed_and_what_is_left() -> None:
    rate = CopyRate(rows_per_second=1234.5, bytes_per_second=56_789.0, seconds_left=3_600)
    total = CopyTotal(rows=5_000, size_bytes=600_000, percent=41, exceeds_estimate=False, rate=rate)
    said = summary(replace(copying_snapshot(), copy_total=total))
    assert (
        ", 5,000 rows copied, 600,000 bytes, about 41 %, 1,234 rows/s, 56,789 bytes/s, about 1 h 00 min left,"
        in said
    )
    unknown = replace(total, percent=None, rate=replace(rate, seconds_left=None))
    said = summary(replace(copying_snapshot(), copy_total=unknown))
    assert "600,000 bytes, 1,234 rows/s" in said
    assert "left" not in said
    exceeded = replace(unknown, exceeds_estimate=True, rate=None)
    assert "600,000 bytes, more than estimated, " in summary(replace(copying_snapshot(), copy_total=exceeded))
    assert "copied" not in summary(replace(copying_snapshot(), phase=Phase.REPLICATING))


def test_a_program_is_told_of_each_copy(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    for database in (source_db, target_db):
        database.execute("create table item (id int primary key); create table other (id int primary key)")
    source_db.execute("insert into item select generate_series(1, 1000); analyze item")
    source_db.execute("create publication pub for table item, other")
    log = tmp_path / "log"
    waiting = "select 1 from pg_locks where relation = 'item'::regclass and not granted"
    with target_db.connect() as blocker, blocker.transaction():
        blocker.execute("lock table item in share mode")
        with RunProcess(source_db, target_db, log, arguments=("--log-format", "json")) as process:
            wait_until(lambda: target_db.query(waiting), timeout_seconds=150, describe=log.read_text)
            said = command("status", "--subscription", "night", target=target_db.conninfo).stdout
            assert process.terminate() == 0, log.read_text()
    assert "  d  public.item  0 rows copied, 0 bytes, about 0 %\n" in said
    last = lines_of(log)[-1]["copy"]
    assert isinstance(last, dict)
    assert (last["rows_copied"], last["copied_percent"], last["copy_seconds_left"]) == (0, 0, None)
    assert last["tables"] == [
        {
            "source": "public.item",
            "rows_copied": 0,
            "bytes_copied": 0,
            "approximate_rows": 1000,
            "copied_percent": 0,
            "copied_rows_per_second": None,
            "copied_bytes_per_second": None,
            "copy_seconds_left": None,
        }
    ]
