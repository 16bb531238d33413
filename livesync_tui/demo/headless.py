"""The whole migration without a screen, step by step in the wizard's order, with plain progress lines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.catalog.identity_change import apply_identities
from engine.catalog.publication_plan import apply_plan, plan_publication
from engine.catalog.replica_identity import plan_identities
from engine.catalog.table_map import TableMap
from engine.catalog.tables import list_tables
from engine.checks.finding import Verdict
from engine.checks.run import run_checks
from engine.connection.endpoint import Endpoint
from engine.connection.probe import probe_server
from engine.connection.session import open_session
from engine.cutover.fence import pass_fence
from engine.cutover.outcome import TableComparison
from engine.cutover.sequences import copy_sequences
from engine.errors import EngineError, Failure
from engine.replication.drop import drop_subscription
from engine.replication.engine import Engine
from engine.replication.subscription import SubscriptionConfig
from engine.schema.dump import dump_schema
from engine.schema.restore import apply_script
from engine.snapshot import Phase, Snapshot
from engine.verification.verify import verify
from livesync_tui import output
from livesync_tui.cli import EXIT_BLOCKED, EXIT_DIFFERENT, EXIT_DONE, EXIT_FAILED
from livesync_tui.demo.writer import DemoWriter

_PROGRESS_SECONDS = 1.0
_POLL_SECONDS = 0.1
_COPY_TIMEOUT_SECONDS = 600.0
_FENCE_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Outage:
    """How long nothing could be written."""

    seconds: float
    sequences: int


def run_headless(
    source: Endpoint,
    target: Endpoint,
    writer: DemoWriter,
    *,
    subscription: str,
    publication: str,
    live_seconds: int,
) -> int:
    """Migrate ``source`` to ``target`` while ``writer`` writes; the exit code.

    Args:
        source: A filled database.
        target: An empty one.
        writer: Running; stopped for the cutover.
        subscription: Name of the subscription.
        publication: Name of the publication to make.
        live_seconds: How long changes are replicated after the copy before the cutover.

    Raises:
        EngineError: What failed.
    """
    started = time.monotonic()
    if not _check(source, target):
        return EXIT_BLOCKED
    _restore_schema(source, target)
    tables = _publish(source, publication)
    config = SubscriptionConfig(subscription, (publication,), source, target, TableMap())
    engine = Engine(config)
    engine.start()
    try:
        _wait_for_copy(engine)
        _watch_live(engine, writer, live_seconds)
        outage = _cut_over(engine, source, target, writer)
        _step(f"Comparing {tables} tables row by row")
        compared = _compare(source, target, subscription)
    finally:
        engine.stop()
        stopped = engine.join(_STOP_TIMEOUT_SECONDS)
    if not stopped or engine.error is not None:
        raise engine.error or EngineError(Failure("The engine did not end in time"))
    dropped = drop_subscription(source, target, subscription)
    _step(f"Removed {len(dropped.slots)} replication slots and the migration's state")
    _print_table(compared)
    different = [table for table in compared if not table.equal]
    _step(
        f"{len(compared)} tables, {sum(table.source_rows for table in compared):,} rows, "
        f"{writer.transactions_committed:,} transactions written meanwhile, "
        f"{outage.sequences} sequences set, "
        f"writes were stopped for {outage.seconds:.1f} s, {time.monotonic() - started:.0f} s in all"
    )
    if different or len(compared) != tables:
        output.error(f"{len(different)} of {tables} tables differ.")
        return EXIT_DIFFERENT
    if writer.failure is not None:
        output.error(f"The demo's writer failed: {writer.failure}")
        return EXIT_FAILED
    _step("Every table is equal.")
    return EXIT_DONE


def _step(text: str) -> None:
    output.line(f"{datetime.now(UTC):%H:%M:%S} {text}")


def _check(source: Endpoint, target: Endpoint) -> bool:
    findings = run_checks(source, target).findings
    counts = {verdict: sum(1 for item in findings if item.verdict is verdict) for verdict in Verdict}
    _step("Checks: " + ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count))
    for finding in findings:
        if finding.verdict is not Verdict.OK:
            _step(f"  {finding.verdict.value} {finding.side.value} {finding.check}: {finding.found}")
    return counts[Verdict.BLOCKS] == 0


def _restore_schema(source: Endpoint, target: Endpoint) -> None:
    script = dump_schema(source, probe_server(source).version_number)
    outcome = apply_script(target, script.text)
    if not outcome.applied:
        raise EngineError(Failure("The schema could not be restored on the target", detail=outcome.error))
    _step(f"Schema restored on the target ({script.pg_dump})")


def _publish(source: Endpoint, publication: str) -> int:
    with open_session(source, "demo") as session:
        tables = list_tables(session)
        names = [table.name for table in tables]
        for result in apply_identities(session, plan_identities(session, names).proposals):
            if result.failure is not None:
                raise EngineError(result.failure)
            _step(f"  {result.sql}")
        plan = plan_publication(session, publication, names)
        apply_plan(session, plan)
    for statement in plan.statements:
        _step(f"  {statement.sql}")
    _step(f"Publication {publication} publishes {len(tables)} tables")
    return len(tables)


def _snapshot(engine: Engine) -> Snapshot:
    snapshot = engine.snapshot()
    assert snapshot is not None
    if engine.error is not None:
        raise engine.error
    if snapshot.tables_set_aside:
        raise EngineError(Failure(f"A table was set aside: {snapshot.tables_set_aside[0].last_error}"))
    return snapshot


def _wait_for_copy(engine: Engine) -> None:
    deadline = time.monotonic() + _COPY_TIMEOUT_SECONDS
    said = 0.0
    while True:
        snapshot = _snapshot(engine)
        if snapshot.all_tables_synchronized:
            break
        if time.monotonic() > deadline:
            raise EngineError(Failure("The copy did not end in time"))
        if time.monotonic() - said > _PROGRESS_SECONDS:
            said = time.monotonic()
            _step(f"Copying: {_progress(snapshot)}")
        time.sleep(_POLL_SECONDS)
    _step(f"Copied: {_progress(snapshot)}")


def _progress(snapshot: Snapshot) -> str:
    done = sum(1 for table in snapshot.tables if table.state.value in "sr")
    rows = sum(table.rows_copied for table in snapshot.tables)
    size_mb = sum(table.bytes_copied for table in snapshot.tables) / 1e6
    return f"{done} of {len(snapshot.tables)} tables, {rows:,} rows, {size_mb:,.0f} MB"


def _watch_live(engine: Engine, writer: DemoWriter, seconds: int) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(_PROGRESS_SECONDS)
        snapshot = _snapshot(engine)
        if snapshot.phase is Phase.RETRYING and snapshot.failure is not None:
            _step(snapshot.failure.sentence())
        lag = "unknown" if snapshot.lag is None else f"{snapshot.lag.lag_bytes:,} bytes"
        rate = snapshot.changes_per_second or 0.0
        _step(f"Live: {rate:,.0f} changes/s, lag {lag}, {writer.transactions_committed:,} transactions")


def _cut_over(engine: Engine, source: Endpoint, target: Endpoint, writer: DemoWriter) -> _Outage:
    stopped_at = time.monotonic()
    writer.stop()
    _step("Writes stopped")
    with open_session(source, "demo") as source_session, open_session(target, "demo") as target_session:
        passed = pass_fence(engine, source_session, timeout_seconds=_FENCE_TIMEOUT_SECONDS)
        if not passed.reached:
            raise EngineError(passed.failure or Failure("The target did not catch up in time"))
        _step(f"Lag zero: everything up to {passed.fence_lsn} is on the target ({passed.seconds:.2f} s)")
        outcomes = copy_sequences(source_session, target_session, TableMap())
    for outcome in outcomes:
        if outcome.problem:
            raise EngineError(Failure(f"Sequence {outcome.source} could not be set", detail=outcome.problem))
    seconds = time.monotonic() - stopped_at
    _step(f"{len(outcomes)} sequences set; the target could take writes {seconds:.1f} s after the stop")
    return _Outage(seconds, len(outcomes))


def _compare(source: Endpoint, target: Endpoint, subscription: str) -> tuple[TableComparison, ...]:
    verified = verify(source, target, subscription, on_progress=lambda progress: None, on_wait=_step)
    return verified.comparisons


def _print_table(compared: tuple[TableComparison, ...]) -> None:
    width = max(len(table.source) for table in compared)
    output.line("")
    output.line(f"{'table':{width}}  {'source rows':>12}  {'target rows':>12}  result")
    for table in compared:
        result = "equal" if table.equal else "DIFFERENT"
        output.line(f"{table.source:{width}}  {table.source_rows:>12,}  {table.target_rows:>12,}  {result}")
    output.line("")
