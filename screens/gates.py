"""The gates of the cutover, in order, each with its evidence; pure values and functions.

A gate is passed when its evidence says so now, not because it once did: evidence that turns bad closes
the gate again, and with it all that follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from engine.errors import Failure
from engine.snapshot import Phase, Snapshot
from screens.format import human_bytes, human_count, human_duration, plural
from screens.services import ComparisonProgress, ComparisonResult, DrainResult, SequencesResult, WriterReading

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
    reading: WriterReading | None = None
    writers_stopped_at: datetime | None = None
    writers_seen_again: str = ""
    """What was seen writing after the writers were said to be stopped."""

    drain: DrainResult | Failure | None = None
    sequences: SequencesResult | Failure | None = None
    comparison: ComparisonResult | Failure | None = None
    progress: ComparisonProgress | None = None
    running: GateName | None = None


def reading_words(reading: WriterReading | None) -> str:
    """One reading of the source's write activity."""
    if reading is None:
        return "not looked yet"
    parts = []
    if reading.writes_since_previous is None:
        parts.append("first look")
    else:
        parts.append(f"{plural(reading.writes_since_previous, 'row change')} since the look before")
    if reading.sessions:
        count = plural(len(reading.sessions), "session holds", "sessions hold")
        parts.append(f"{count} a write open: {reading.sessions[0]}")
    parts.append(f"source at {reading.position}")
    return ", ".join(parts)


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
    words = reading_words(evidence.reading)
    if evidence.writers_stopped_at is not None:
        return Gate(name, GateState.PASSED, f"said at {evidence.writers_stopped_at:%H:%M:%S %Z}; {words}")
    return Gate(name, GateState.WAITING, words)


def _drained(drain: DrainResult | Failure | None) -> tuple[GateState, str]:
    if drain is None:
        return GateState.WAITING, "waits until the source's last position is applied on the target"
    if isinstance(drain, Failure):
        return GateState.FAILED, drain.title
    if not drain.reached:
        said = f"applied only {drain.applied_lsn} of {drain.fence_lsn} after {human_duration(drain.seconds)}"
        return GateState.FAILED, said
    return GateState.PASSED, f"fence {drain.fence_lsn} applied after {human_duration(drain.seconds)}"


def _sequences(sequences: SequencesResult | Failure | None) -> tuple[GateState, str]:
    if sequences is None:
        return GateState.WAITING, "so that new rows get new numbers"
    if isinstance(sequences, Failure):
        return GateState.FAILED, sequences.title
    if sequences.problems:
        more = f" and {len(sequences.problems) - 1} more" if len(sequences.problems) > 1 else ""
        return GateState.FAILED, f"{sequences.problems[0]}{more}"
    return GateState.PASSED, f"{plural(sequences.set_count, 'sequence')} set"


def _compared(evidence: CutoverEvidence) -> tuple[GateState, str]:
    comparison, progress = evidence.comparison, evidence.progress
    if isinstance(comparison, Failure):
        return GateState.FAILED, comparison.title
    if comparison is not None:
        if comparison.differences:
            first = comparison.differences[0]
            more = f" and {len(comparison.differences) - 1} more" if len(comparison.differences) > 1 else ""
            return GateState.FAILED, f"{first.table}: {first.description}{more}"
        tables = plural(comparison.tables_compared, "table")
        return GateState.PASSED, f"{tables}, {human_count(comparison.rows_compared)} rows, no difference"
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
