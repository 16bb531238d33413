"""The cutover's services on two real servers: what is written down, what is run, what is undone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from engine.catalog.table import TableName
from engine.cutover.outcome import FenceOutcome, ReadOnlyOffer, ReadOnlyRecord
from engine.errors import Failure, Side
from engine.snapshot import Phase, Snapshot
from livesync_tui.services import LivesyncServices
from screens.gates import CutoverEvidence, GateName, GateState, gates
from screens.migration import Step
from tests.conftest import Database
from tests.waiting import wait_until


def _services(
    source_db: Database, target_db: Database, folder: Path, *, dry_run: bool = False
) -> LivesyncServices:
    services = LivesyncServices(folder=folder, dry_run=dry_run)
    services.use_connection(Side.SOURCE, source_db.conninfo)
    services.use_connection(Side.TARGET, target_db.conninfo)
    migration = replace(
        services.migration,
        name="shop",
        source_conninfo=services.conninfo(Side.SOURCE),
        target_conninfo=services.conninfo(Side.TARGET),
        source_name="source",
        target_name="target",
        subscription="shop",
        publication="p",
        tables=(TableName("public", "t"),),
        step=Step.CUTOVER,
        started_at=datetime.now(UTC),
    )
    assert services.record(migration) is None
    return services


@pytest.fixture
def two(source_db: Database, target_db: Database) -> tuple[Database, Database]:
    for database in (source_db, target_db):
        database.execute("create table t (id int primary key)")
    source_db.execute("insert into t select generate_series(1, 100); create publication p for table t")
    return source_db, target_db


@pytest.fixture
def running(two: tuple[Database, Database], tmp_path: Path) -> Iterator[LivesyncServices]:
    """A migration that replicates in this process."""
    services = _services(*two, tmp_path)
    assert services.start_engine() is None
    wait_until(lambda: _snapshot(services).phase is Phase.REPLICATING)
    yield services
    assert services.stop_engine() is True


def _snapshot(services: LivesyncServices) -> Snapshot:
    assert services.engine is not None
    return wait_until(services.engine.snapshot)  # type: ignore[return-value]


def _nothing_after(services: LivesyncServices, fence: FenceOutcome) -> GateState:
    evidence = CutoverEvidence(snapshot=_snapshot(services), fence=fence)
    listed = gates(evidence, datetime.now(UTC))
    # As it stands by itself, whatever the gates before it say.
    (gate,) = (gate for gate in listed if gate.name is GateName.NOTHING_AFTER)
    return GateState.FAILED if gate.state is GateState.FAILED else GateState.PASSED


def test_a_writer_that_sneaks_in_after_the_fence_is_caught(
    running: LivesyncServices, two: tuple[Database, Database]
) -> None:
    source_db, _ = two
    fence = running.cutover.pass_fence()
    assert isinstance(fence, FenceOutcome)
    assert fence.reached
    closing = running.cutover.pass_fence()
    assert isinstance(closing, FenceOutcome)
    assert _nothing_after(running, fence) is GateState.PASSED
    source_db.execute("insert into t values (101)")
    # Whatever was committed before the next fence is counted when that is seen.
    last = running.cutover.pass_fence()
    assert isinstance(last, FenceOutcome)
    assert last.reached
    assert _nothing_after(running, fence) is GateState.FAILED
    assert _nothing_after(running, closing) is GateState.FAILED
    assert _nothing_after(running, last) is GateState.PASSED
    assert [text.count("pg_logical_emit_message") for text in running.cutover.source_changes()] == [1, 1, 1]


def test_read_only_is_written_down_first_told_in_the_transcript_and_undone(
    two: tuple[Database, Database], tmp_path: Path
) -> None:
    source_db, target_db = two
    services = _services(source_db, target_db, tmp_path)
    offer = services.cutover.offer_read_only()
    assert isinstance(offer, ReadOnlyOffer)
    assert services.cutover.make_read_only((offer.database,)) is None
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        source_db.execute("insert into t values (101)")

    # Another run of the wizard knows of it.
    again = LivesyncServices(folder=tmp_path)
    assert again.resume(services.migration.id) is None
    again.use_connection(Side.SOURCE, source_db.conninfo)
    again.use_connection(Side.TARGET, target_db.conninfo)
    assert again.migration.read_only == (ReadOnlyRecord(source_db.name, "", None),)
    assert again.cutover.undo_read_only() is None
    source_db.execute("insert into t values (101)")
    assert again.migration.read_only == ()
    assert [
        statement.split(" set ")[-1].split(" reset ")[-1] for statement in again.cutover.source_changes()
    ] == [
        "default_transaction_read_only = 'on'",
        "default_transaction_read_only",
    ]


def test_the_record_is_on_disk_before_the_setting_is_made(
    two: tuple[Database, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = _services(*two, tmp_path)
    path = tmp_path / services.migration.id / "migration.json"
    found: list[object] = []

    def killed(*_: object) -> None:
        found.extend(json.loads(path.read_text())["read_only"])
        raise KeyboardInterrupt

    monkeypatch.setattr("livesync_tui.step_services.cutover.run_together", killed)
    with pytest.raises(KeyboardInterrupt):
        services.cutover.make_read_only((ReadOnlyRecord(two[0].name, "", None),))
    assert found == [{"database": two[0].name, "role": "", "before": None}]
    monkeypatch.undo()
    # Undoing what was never done does no harm.
    assert services.cutover.undo_read_only() is None


def test_a_refused_setting_leaves_no_record(two: tuple[Database, Database], tmp_path: Path) -> None:
    services = _services(*two, tmp_path)
    failure = services.cutover.make_read_only((ReadOnlyRecord(two[0].name, "no such role", None),))
    assert isinstance(failure, Failure)
    assert "does not exist" in failure.detail
    assert services.migration.read_only == ()
    assert services.cutover.source_changes() == ()


def test_a_dry_run_changes_nothing(two: tuple[Database, Database], tmp_path: Path) -> None:
    services = _services(*two, tmp_path, dry_run=True)
    for outcome in (
        services.cutover.pass_fence(),
        services.cutover.copy_sequences(),
        services.cutover.make_read_only((ReadOnlyRecord(two[0].name, "", None),)),
        services.cutover.end_sessions(()),
    ):
        assert isinstance(outcome, Failure)
        assert "dry run" in outcome.title
    assert services.migration.read_only == ()
    assert isinstance(services.cutover.measure_sequences(), tuple)


def test_what_is_left_and_left_out_is_told(two: tuple[Database, Database], tmp_path: Path) -> None:
    source_db, target_db = two
    source_db.execute("create table other (id int)")
    services = _services(source_db, target_db, tmp_path)
    assert services.cutover.not_migrated() == ("table public.other: not chosen",)
    assert services.cutover.why_not_writable() == ""
    left = services.cutover.leftovers()
    assert isinstance(left, tuple)
    # A table that was never analyzed.
    assert any(line.startswith("Post-sync: ") for line in left)
