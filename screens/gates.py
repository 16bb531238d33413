"""The gates of the cutover, in order, each with its evidence; pure values and functions.

A gate is passed when its evidence says so now, not because it once did: evidence that turns bad closes
the gate again, and with it all that follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from engine.cutover.outcome import (
    ComparisonProgress,
    DrainOutcome,
    SequenceOutcome,
    TableComparison,
    WriteActivity,
)
from engine.errors import Failure
from engine.lsn import parse_lsn
from engine.snapshot import Phase, Snapshot
from screens.format import human_bytes, human_count, human_duration, plural

SMALL_LAG_BYTES = 1024 * 1024
SMALL_LAG_SECONDS = 5.0
"""Applying that much more takes seconds once the writers have stopped."""


class GateName(Enum):
    """The gates, in the order they are passed."""

    SYNCHRONIZED = "Every table is synchronized"
    LAG = "The lag is small"
    WRITERS = "The writers are stopped"
    DRAINED = "Everything written is applied"
    SEQUENCES = "The sequences are carried over"
    COMPARED = "Every table is compared row by row"


class GateState(Enum):
    """How a gate stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Gate:
    """One line of the checklist."""

    name: GateName
    state: GateState
    evidence: str


@dataclass(frozen=True, slots=True)
class CutoverEvidence:
    """What is known on the way to the line."""

    snapshot: Snapshot | None = None
    activity: WriteActivity | None = None
    """The latest look at the source's writers."""

    before: WriteActivity | None = None
    """The look that the latest is compared with."""

    writers_stopped_at: datetime | None = None
    writers_seen_again: str = ""
    """What was seen writing after the writers were said to be stopped."""

    drain: DrainOutcome | Failure | None = None
    sequences: tuple[SequenceOutcome, ...] | Failure | None = None
    comparisons: tuple[TableComparison, ...] | Failure | None = None
    progress: ComparisonProgress | None = None
    running: GateName | None = None


def row_changes_between(before: WriteActivity | None, after: WriteActivity) -> int | None:
    """Row changes between two looks, or None when there was only one."""
    return None if before is None else max(0, after.row_changes_total - before.row_changes_total)


def wrote_since(baseline: WriteActivity, now: WriteActivity) -> bool:
    """Whether anything was written since the look taken when the writers had stopped.

    Counted changes alone do not tell: an idle session may report its last ones ten seconds late. Neither
    does the position alone: other databases of the server move it too.
    """
    if now.sessions:
        return True
    moved = parse_lsn(now.position_lsn) > parse_lsn(baseline.position_lsn)
    return moved and now.row_changes_total > baseline.row_changes_total


def activity_words(activity: WriteActivity | None, before: WriteActivity | None) -> str:
    """What one look at the source's writers saw."""
    if activity is None:
        return "not looked yet"
    changes = row_changes_between(before, activity)
    parts = ["first look" if changes is None else f"{plural(changes, 'row change')} since the look before"]
    if activity.sessions:
        count = plural(len(activity.sessions), "session writes", "sessions write")
        parts.append(f"{count}: {activity.sessions[0]}")
    parts.append(f"source at {activity.position_lsn}")
    return ", ".join(parts)


def problems_of(comparison: TableComparison) -> str:
    """Why two sides of a table are not the same, in a few words; empty when they are."""
    if comparison.problem is not None:
        return comparison.problem
    if comparison.equal:
        return ""
    parts = []
    if comparison.source_only_columns:
        parts.append(f"columns only on the source: {', '.join(comparison.source_only_columns)}")
    if comparison.target_only_columns:
        parts.append(f"columns only on the target: {', '.join(comparison.target_only_columns)}")
    if comparison.source_rows != comparison.target_rows:
        counts = f"{human_count(comparison.source_rows)} rows on the source"
        parts.append(f"{counts}, {human_count(comparison.target_rows)} on the target")
    elif comparison.differing or not parts:
        parts.append("rows differ")
    return "; ".join(parts)


def _synchronized(snapshot: Snapshot | None) -> Gate:
    name = GateName.SYNCHRONIZED
    if snapshot is None:
        return Gate(name, GateState.WAITING, "the engine has not reported yet")
    if snapshot.phase in (Phase.FAILED, Phase.STOPPED, Phase.STOPPING, Phase.PAUSED, Phase.RETRYING):
        said = f": {snapshot.failure.title}" if snapshot.failure is not None else ""
        return Gate(name, GateState.FAILED, f"the engine is {snapshot.phase.value}{said}")
    if snapshot.tables_set_aside:
        count = plural(len(snapshot.tables_set_aside), "table is", "tables are")
        return Gate(name, GateState.FAILED, f"{count} set aside")
    if not snapshot.all_tables_synchronized:
        return Gate(name, GateState.WAITING, "tables are still being copied")
    if snapshot.objects_failed:
        count = plural(snapshot.objects_failed, "index or constraint", "indexes and constraints")
        return Gate(name, GateState.FAILED, f"{count} of the schema could not be built")
    if snapshot.objects_to_build:
        count = plural(snapshot.objects_to_build, "index or constraint", "indexes and constraints")
        return Gate(name, GateState.WAITING, f"{count} of the schema still to be built")
    return Gate(
        name, GateState.PASSED, f"{plural(len(snapshot.tables), 'table')}, each s or r, none set aside"
    )


def _lag(snapshot: Snapshot | None) -> Gate:
    name = GateName.LAG
    lag = snapshot.lag if snapshot is not None else None
    if lag is None:
        return Gate(name, GateState.WAITING, "the lag is unknown")
    seconds = "" if lag.lag_seconds is None else f", {human_duration(lag.lag_seconds)}"
    evidence = f"{human_bytes(lag.lag_bytes)}{seconds}"
    small = lag.lag_bytes <= SMALL_LAG_BYTES or (
        lag.lag_seconds is not None and lag.lag_seconds <= SMALL_LAG_SECONDS
    )
    return Gate(name, GateState.PASSED if small else GateState.WAITING, evidence)


def _writers(evidence: CutoverEvidence) -> Gate:
    name = GateName.WRITERS
    if evidence.writers_seen_again:
        return Gate(name, GateState.FAILED, f"writing went on after that: {evidence.writers_seen_again}")
    words = activity_words(evidence.activity, evidence.before)
    if evidence.writers_stopped_at is not None:
        return Gate(name, GateState.PASSED, f"said at {evidence.writers_stopped_at:%H:%M:%S %Z}; {words}")
    return Gate(name, GateState.WAITING, words)


def _drained(drain: DrainOutcome | Failure | None) -> tuple[GateState, str]:
    if drain is None:
        return GateState.WAITING, "waits until the source's last position is applied on the target"
    if isinstance(drain, Failure):
        return GateState.FAILED, drain.title
    if drain.failure is not None:
        return GateState.FAILED, drain.failure.title
    if not drain.reached:
        applied = f"applied only {drain.applied_lsn or 'nothing'} of {drain.fence_lsn}"
        return GateState.FAILED, f"{applied} after {human_duration(drain.seconds)}"
    return GateState.PASSED, f"fence {drain.fence_lsn} applied after {human_duration(drain.seconds)}"


def _sequences(outcomes: tuple[SequenceOutcome, ...] | Failure | None) -> tuple[GateState, str]:
    if outcomes is None:
        return GateState.WAITING, "so that new rows get new numbers"
    if isinstance(outcomes, Failure):
        return GateState.FAILED, outcomes.title
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return GateState.FAILED, f"{failed[0].source}: {failed[0].problem}{more}"
    return GateState.PASSED, f"{plural(len(outcomes), 'sequence')} set"


def _compared(evidence: CutoverEvidence) -> tuple[GateState, str]:
    comparisons, progress = evidence.comparisons, evidence.progress
    if isinstance(comparisons, Failure):
        return GateState.FAILED, comparisons.title
    if comparisons is not None:
        different = [comparison for comparison in comparisons if problems_of(comparison)]
        if different:
            more = f" and {len(different) - 1} more" if len(different) > 1 else ""
            return GateState.FAILED, f"{different[0].source}: {problems_of(different[0])}{more}"
        rows = sum(comparison.source_rows for comparison in comparisons)
        return (
            GateState.PASSED,
            f"{plural(len(comparisons), 'table')}, {human_count(rows)} rows, no difference",
        )
    if progress is not None and evidence.running is GateName.COMPARED:
        done = f"{progress.tables_done} of {plural(progress.tables_total, 'table')}"
        return (
            GateState.RUNNING,
            f"{done}, {human_count(progress.rows_compared)} rows; now {progress.current}",
        )
    return GateState.WAITING, "reads both sides completely"


def gates(evidence: CutoverEvidence) -> tuple[Gate, ...]:
    """All gates as they stand; one that follows a gate that is not passed is waiting at best."""
    later = (
        (GateName.DRAINED, *_drained(evidence.drain)),
        (GateName.SEQUENCES, *_sequences(evidence.sequences)),
        (GateName.COMPARED, *_compared(evidence)),
    )
    listed = [_synchronized(evidence.snapshot), _lag(evidence.snapshot), _writers(evidence)]
    listed.extend(
        Gate(name, GateState.RUNNING if evidence.running is name else state, said)
        for name, state, said in later
    )
    shown: list[Gate] = []
    for gate in listed:
        is_locked = any(before.state is not GateState.PASSED for before in shown)
        if is_locked and gate.state is GateState.PASSED:
            shown.append(replace(gate, state=GateState.WAITING))
        else:
            shown.append(gate)
    return tuple(shown)


def next_gate(listed: tuple[Gate, ...]) -> Gate | None:
    """The first gate that is not passed, or None when the line may be crossed."""
    return next((gate for gate in listed if gate.state is not GateState.PASSED), None)
