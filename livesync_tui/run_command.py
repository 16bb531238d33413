"""``livesync-tui run``: an engine without a screen, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import signal
import threading
from types import FrameType

from engine.catalog.table_map import parse_table_map
from engine.connection.endpoint import parse_endpoint
from engine.errors import EngineError, Failure, Retry, Side, UsageError
from engine.feed import Feed
from engine.replication.engine import Engine
from engine.replication.subscription import SubscriptionConfig
from engine.snapshot import Event, Phase, Snapshot, TableState
from livesync_tui import output
from livesync_tui.cli import EXIT_DONE, EXIT_FAILED, exit_code
from livesync_tui.copy_words import table_fields, total_fields, total_words

_SUMMARY_SECONDS = 10.0
_POLL_SECONDS = 0.2

_STOP_SECONDS = 60.0
"""How long a stop may take: the engine itself waits 30 s for its workers."""


def run(options: argparse.Namespace) -> int:
    """Run the subscription until asked to stop; the exit code."""
    if options.schema:
        _require_whole_copy(options)
    config = SubscriptionConfig(
        subscription=options.subscription,
        publications=tuple(dict.fromkeys(options.publication)),
        source=parse_endpoint(Side.SOURCE, options.source or ""),
        target=parse_endpoint(Side.TARGET, options.target or ""),
        table_map=parse_table_map(options.table_map),
        sync_workers=options.table_sync_workers,
        copy_data=options.copy_data,
        restores_schema=options.schema,
        index_jobs=options.index_jobs,
        maintenance_work_mem=options.maintenance_work_mem,
    )
    log = output.LogLines(as_json=options.log_format == "json")

    def show(event: Event) -> None:
        log.write(event.severity.value, event.text)

    engine = Engine(config, Feed(on_event=show))
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    engine.start()
    summarized = 0.0
    while not engine.join(_POLL_SECONDS):
        if stop.is_set():
            engine.stop()
            if not engine.join(_STOP_SECONDS):
                raise EngineError(
                    Failure(
                        "The engine did not end in time; nothing is lost",
                        hint="What was not committed on the target is applied again on the next start",
                    )
                )
            break
        snapshot = engine.snapshot()
        if snapshot is not None and snapshot.taken_monotonic_seconds - summarized >= _SUMMARY_SECONDS:
            summarized = snapshot.taken_monotonic_seconds
            log.write("info", summary(snapshot), _fields(snapshot))
    if engine.error is not None:
        output.error(engine.error.failure.sentence())
        return exit_code(engine.error)
    snapshot = engine.snapshot()
    stopped = snapshot is not None and snapshot.phase is Phase.STOPPED
    if stopped and snapshot is not None:
        log.write("info", f"Stopped at {snapshot.applied_lsn}; run again to go on", _fields(snapshot))
    return EXIT_DONE if stopped else EXIT_FAILED


def _require_whole_copy(options: argparse.Namespace) -> None:
    """Refuse what does not go together with --schema.

    Raises:
        UsageError: Says what.
    """
    if options.table_map:
        raise UsageError(
            Failure(
                title="--schema restores every table under its own name, so it does not go with --table-map",
                hint="Restore the schema by hand where you want it, then run without --schema",
                retry=Retry.NEVER,
            )
        )
    if not options.copy_data:
        raise UsageError(
            Failure(
                title="--schema builds keys once rows are copied, so it does not go with --copy-data false",
                hint="Restore the schema by hand, then run without --schema",
                retry=Retry.NEVER,
            )
        )


def summary(snapshot: Snapshot) -> str:
    """One line about everything."""
    states = " ".join(f"{state.value}={snapshot.count(state)}" for state in TableState)
    parts = [snapshot.phase.value, f"tables {states}"]
    if snapshot.tables_set_aside:
        parts.append(f"set aside {len(snapshot.tables_set_aside)}")
    if snapshot.phase is Phase.COPYING:
        parts.append(total_words(snapshot.copy_total))
    if snapshot.objects_to_build:
        parts.append(f"{snapshot.objects_to_build} indexes and constraints to build")
    if snapshot.objects_failed:
        parts.append(f"{snapshot.objects_failed} indexes and constraints refused")
    if snapshot.changes_per_second is not None:
        parts.append(f"{snapshot.changes_per_second:,.0f} changes/s")
    lag = "unknown" if snapshot.lag is None else f"{snapshot.lag.lag_bytes:,} bytes"
    parts.append(f"lag {lag}")
    if snapshot.waiting_for is not None:
        parts.append(f"applying waits for {snapshot.waiting_for}")
    return ", ".join(parts)


def _fields(snapshot: Snapshot) -> dict[str, object]:
    return {
        "phase": snapshot.phase.value,
        "tables": {state.value: snapshot.count(state) for state in TableState},
        "tables_set_aside": len(snapshot.tables_set_aside),
        "applied_lsn": snapshot.applied_lsn,
        "source_flush_lsn": snapshot.source_flush_lsn,
        "lag_bytes": None if snapshot.lag is None else snapshot.lag.lag_bytes,
        "changes_per_second": snapshot.changes_per_second,
        "copy": {
            **total_fields(snapshot.copy_total),
            "tables": [
                {"source": table.source_name, **table_fields(table)}
                for table in snapshot.tables
                if table.state is TableState.DATASYNC and table.last_error is None
            ],
        },
        "objects_to_build": snapshot.objects_to_build,
        "objects_failed": snapshot.objects_failed,
        "waiting_for": snapshot.waiting_for,
    }
