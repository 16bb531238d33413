"""The gates of the cutover, in order, each with its evidence; pure values and functions.

A gate is passed when its evidence says so now, not because it once did: evidence that turns bad, or gets old,
closes the gate again, and with it all that follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from engine.cutover.outcome import (
    ComparisonProgress,
    FenceOutcome,
    SequenceOutcome,
    TableComparison,
    WriteActivity,
)
from engine.errors import Failure
from engine.lsn import parse_lsn
from engine.snapshot import Phase, Snapshot, TableState
from screens.format import human_bytes, human_count, human_duration, human_whole_seconds, plural

SMALL_LAG_BYTES = 1024 * 1024
SMALL_LAG_SECONDS = 5.0
"""Applying that much more takes seconds once the writers have stopped."""

SMALL_FOR_SECONDS = 5.0
"""How long the lag has to stay small; that of one moment may be the bottom of a wave."""

OLD_SECONDS = 20.0
"""Evidence of something that is looked at all the time is worth nothing when it is older."""


class GateName(Enum):
    """The gates, in the order they are passed."""

    READY = "Every table is ready"
    SET_ASIDE = "Nothing is set aside"
    BUILT = "What was put off is built"
    LEFTOVERS = "Post-sync, rights, settings"
    WRITABLE = "The target takes writes"
    LAG = "The lag is small"
    TRANSACTIONS = "No long transactions"
    WRITERS = "The writers are stopped"
    FENCE = "The fence came through"
    NOTHING_AFTER = "Nothing came after it"
    SEQUENCES = "The sequences are set"
    COMPARED = "Every table is equal"

    @property
    def number(self) -> int:
        """Its place, from 1."""
        return list(GateName).index(self) + 1


class GateState(Enum):
    """How a gate stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    WARNING = "warning"
    """It does not keep from crossing the line; who crosses accepts it."""

    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Gate:
    """One line of the checklist."""

    name: GateName
    state: GateState
    evidence: str
    seen_at: datetime | None = None
    """When the evidence was gathered; None when there is none."""

    @property
    def is_open(self) -> bool:
        """Whether the way on is free."""
        return self.state in (GateState.PASSED, GateState.WARNING)


@dataclass(frozen=True, slots=True)
class CutoverEvidence:
    """What is known on the way to the line; times are this machine's."""

    snapshot: Snapshot | None = None
    snapshot_at: datetime | None = None
    lag_small_since: datetime | None = None
    activity: WriteActivity | Failure | None = None
    """The latest look at the source."""

    activity_at: datetime | None = None
    before: WriteActivity | None = None
    """The look that the latest is compared with."""

    not_writable: str | Failure | None = None
    """Why the target takes no writes; empty when it does, None before the first look."""

    writable_at: datetime | None = None
    leftovers: tuple[str, ...] | Failure | None = None
    leftovers_at: datetime | None = None
    writers_stopped_at: datetime | None = None
    writers_seen_again: str = ""
    """What was seen writing after the writers were said to be stopped."""

    fence: FenceOutcome | Failure | None = None
    fence_at: datetime | None = None
    sequences: tuple[SequenceOutcome, ...] | Failure | None = None
    sequences_at: datetime | None = None
    comparisons: tuple[TableComparison, ...] | Failure | None = None
    compared_at: datetime | None = None
    progress: ComparisonProgress | None = None
    running: GateName | None = None

    def without_proof(self) -> CutoverEvidence:
        """Before the fence: what was proven after the writers' stop no longer counts."""
        return replace(self, fence=None, sequences=None, comparisons=None, progress=None, running=None)

    def with_snapshot(self, snapshot: Snapshot | None, taken_at: datetime | None) -> CutoverEvidence:
        """With the engine as it was at ``taken_at``."""
        since = self.lag_small_since
        if snapshot is not None and taken_at is not None:
            since = (since or taken_at) if _is_small(snapshot) else None
        return replace(self, snapshot=snapshot, snapshot_at=taken_at, lag_small_since=since)


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


def activity_words(activity: WriteActivity | Failure | None, before: WriteActivity | None) -> str:
    """What one look at the source's writers saw."""
    if activity is None:
        return "not looked yet"
    if isinstance(activity, Failure):
        return activity.title
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


_Said = tuple[GateState, str]


def _stopped(snapshot: Snapshot) -> str:
    if snapshot.phase not in (Phase.FAILED, Phase.STOPPED, Phase.STOPPING, Phase.PAUSED, Phase.RETRYING):
        return ""
    said = f": {snapshot.failure.title}" if snapshot.failure is not None else ""
    return f"the engine is {snapshot.phase.value}{said}"


def _ready(evidence: CutoverEvidence, now: datetime) -> _Said:
    snapshot, taken_at = evidence.snapshot, evidence.snapshot_at
    if snapshot is None or taken_at is None:
        return GateState.WAITING, "the engine has not reported yet"
    if stopped := _stopped(snapshot):
        return GateState.FAILED, stopped
    if (silent := (now - taken_at).total_seconds()) > OLD_SECONDS:
        return GateState.FAILED, f"the engine has not reported for {human_whole_seconds(silent)}"
    ready = sum(table.state is TableState.READY for table in snapshot.tables)
    if not snapshot.tables or ready < len(snapshot.tables):
        return GateState.WAITING, f"{ready} of {plural(len(snapshot.tables), 'table')} ready"
    return GateState.PASSED, f"{plural(ready, 'table')} ready"


def _set_aside(evidence: CutoverEvidence, _now: datetime) -> _Said:
    if evidence.snapshot is None:
        return GateState.WAITING, "the engine has not reported yet"
    aside = evidence.snapshot.tables_set_aside
    if aside:
        more = f" and {len(aside) - 1} more" if len(aside) > 1 else ""
        return GateState.FAILED, f"{aside[0].source_name}{more}: {aside[0].last_error}"
    return GateState.PASSED, "no table stopped with an error"


def _built(evidence: CutoverEvidence, _now: datetime) -> _Said:
    snapshot = evidence.snapshot
    if snapshot is None:
        return GateState.WAITING, "the engine has not reported yet"
    if snapshot.objects_failed:
        count = plural(snapshot.objects_failed, "index or constraint", "indexes and constraints")
        return GateState.FAILED, f"{count} of the schema could not be built"
    if snapshot.objects_to_build:
        count = plural(snapshot.objects_to_build, "index or constraint", "indexes and constraints")
        return GateState.WAITING, f"{count} of the schema still to be built"
    return GateState.PASSED, "no index or constraint is missing"


def _leftovers(evidence: CutoverEvidence, _now: datetime) -> _Said:
    left = evidence.leftovers
    if left is None:
        return GateState.WAITING, "looking at both servers"
    if isinstance(left, Failure):
        return GateState.WARNING, left.title
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        return GateState.WARNING, f"{left[0]}{more}"
    return GateState.PASSED, "nothing is left to do"


def _writable(evidence: CutoverEvidence, now: datetime) -> _Said:
    said = evidence.not_writable
    if said is None:
        return GateState.WAITING, "not looked yet"
    if isinstance(said, Failure):
        return GateState.FAILED, said.title
    if old := _old(evidence.writable_at, now):
        return GateState.FAILED, old
    return (GateState.FAILED, said) if said else (GateState.PASSED, "it is no standby and not read-only")


def _old(seen_at: datetime | None, now: datetime) -> str:
    if seen_at is None or (age := (now - seen_at).total_seconds()) <= OLD_SECONDS:
        return ""
    return f"the last answer is {human_whole_seconds(age)} old"


def _is_small(snapshot: Snapshot) -> bool:
    lag = snapshot.lag
    return lag is not None and (
        lag.lag_bytes <= SMALL_LAG_BYTES
        or (lag.lag_seconds is not None and lag.lag_seconds <= SMALL_LAG_SECONDS)
    )


def _lag(evidence: CutoverEvidence, now: datetime) -> _Said:
    lag = evidence.snapshot.lag if evidence.snapshot is not None else None
    if lag is None:
        return GateState.WAITING, "the lag is unknown"
    seconds = "" if lag.lag_seconds is None else f", {human_duration(lag.lag_seconds)}"
    said = f"{human_bytes(lag.lag_bytes)}{seconds}"
    since = evidence.lag_small_since
    if since is None:
        return GateState.WAITING, f"{said}: too much"
    small_for = (now - since).total_seconds()
    if small_for < SMALL_FOR_SECONDS:
        return GateState.WAITING, f"{said}; small for {human_whole_seconds(small_for)}"
    return GateState.PASSED, f"{said}; small for {human_whole_seconds(small_for)}"


def _transactions(evidence: CutoverEvidence, now: datetime) -> _Said:
    activity = evidence.activity
    if activity is None:
        return GateState.WAITING, "not looked yet"
    if isinstance(activity, Failure):
        return GateState.FAILED, activity.title
    if old := _old(evidence.activity_at, now):
        return GateState.FAILED, old
    found = activity.long_transactions
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return GateState.FAILED, f"{found[0]}{more}"
    if activity.hidden_sessions:
        hidden = plural(activity.hidden_sessions, "session is", "sessions are")
        return GateState.WARNING, f"{hidden} hidden from our role"
    return GateState.PASSED, "none that writes, none prepared"


def _writers(evidence: CutoverEvidence, now: datetime) -> _Said:
    if evidence.writers_seen_again:
        return GateState.FAILED, f"writing went on after that: {evidence.writers_seen_again}"
    words = activity_words(evidence.activity, evidence.before)
    if evidence.writers_stopped_at is None:
        return GateState.WAITING, words
    if isinstance(evidence.activity, Failure):
        return GateState.FAILED, words
    if old := _old(evidence.activity_at, now):
        return GateState.FAILED, old
    return GateState.PASSED, f"said at {evidence.writers_stopped_at:%H:%M:%S %Z}; {words}"


def _fence(evidence: CutoverEvidence, _now: datetime) -> _Said:
    fence, snapshot = evidence.fence, evidence.snapshot
    if fence is None:
        return GateState.WAITING, "a message on the source has to come out on the target"
    if isinstance(fence, Failure):
        return GateState.FAILED, fence.title
    if fence.failure is not None:
        return GateState.FAILED, fence.failure.title
    if not fence.reached:
        applied = f"applied only {fence.applied_lsn or 'nothing'} of {fence.fence_lsn}"
        return GateState.FAILED, f"{applied} after {human_duration(fence.seconds)}"
    if fence.comes_through_stream and (snapshot is None or snapshot.fence(fence.fence) is None):
        return GateState.FAILED, "the engine was started again since; send it again"
    return GateState.PASSED, f"on the target after {human_duration(fence.seconds)}: {fence.fence_lsn}"


def _nothing_after(evidence: CutoverEvidence, _now: datetime) -> _Said:
    fence = evidence.fence
    if not isinstance(fence, FenceOutcome) or not fence.reached:
        return GateState.WAITING, "row changes behind the fence are counted"
    if not fence.comes_through_stream:
        return GateState.PASSED, "this source's version shows it by its write counters only"
    seen = None if evidence.snapshot is None else evidence.snapshot.fence(fence.fence)
    changes = 0 if seen is None else seen.changes_after
    if changes:
        came = plural(changes, "row change")
        return GateState.FAILED, f"{came} came after it: somebody still writes"
    return GateState.PASSED, "no row change behind the fence"


def _sequences(evidence: CutoverEvidence, _now: datetime) -> _Said:
    outcomes = evidence.sequences
    if outcomes is None:
        return GateState.WAITING, "so that new rows get new numbers"
    if isinstance(outcomes, Failure):
        return GateState.FAILED, outcomes.title
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return GateState.FAILED, f"{failed[0].source}: {failed[0].problem}{more}"
    return GateState.PASSED, f"{plural(len(outcomes), 'sequence')} set, none behind its rows"


def _compared(evidence: CutoverEvidence, _now: datetime) -> _Said:
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
            f"no difference in {plural(len(comparisons), 'table')}, {human_count(rows)} rows",
        )
    if progress is not None and evidence.running is GateName.COMPARED:
        done = f"{progress.tables_done} of {plural(progress.tables_total, 'table')}"
        return (
            GateState.RUNNING,
            f"{done}, {human_count(progress.rows_compared)} rows; now {progress.current}",
        )
    return GateState.WAITING, "reads both sides completely"


_LOOKS: dict[GateName, Callable[[CutoverEvidence, datetime], _Said]] = {
    GateName.READY: _ready,
    GateName.SET_ASIDE: _set_aside,
    GateName.BUILT: _built,
    GateName.LEFTOVERS: _leftovers,
    GateName.WRITABLE: _writable,
    GateName.LAG: _lag,
    GateName.TRANSACTIONS: _transactions,
    GateName.WRITERS: _writers,
    GateName.FENCE: _fence,
    GateName.NOTHING_AFTER: _nothing_after,
    GateName.SEQUENCES: _sequences,
    GateName.COMPARED: _compared,
}


def _seen_at(name: GateName, evidence: CutoverEvidence) -> datetime | None:
    match name:
        case GateName.READY | GateName.SET_ASIDE | GateName.BUILT | GateName.LAG | GateName.NOTHING_AFTER:
            return evidence.snapshot_at
        case GateName.TRANSACTIONS | GateName.WRITERS:
            return evidence.activity_at
        case GateName.WRITABLE:
            return evidence.writable_at
        case GateName.LEFTOVERS:
            return evidence.leftovers_at
        case GateName.FENCE:
            return evidence.fence_at if evidence.fence is not None else None
        case GateName.SEQUENCES:
            return evidence.sequences_at if evidence.sequences is not None else None
        case GateName.COMPARED:
            return evidence.compared_at if evidence.comparisons is not None else None


def gates(evidence: CutoverEvidence, now: datetime) -> tuple[Gate, ...]:
    """All gates as they stand at ``now``; one that follows a closed one is waiting at best."""
    listed: list[Gate] = []
    closed: Gate | None = None
    for name, look in _LOOKS.items():
        state, said = look(evidence, now)
        if evidence.running is name:
            state = GateState.RUNNING
        gate = Gate(name, state, said, _seen_at(name, evidence))
        if closed is not None and gate.is_open:
            gate = replace(gate, state=GateState.WAITING, evidence=f"behind {closed.name.number}: {said}")
        elif closed is None and not gate.is_open:
            closed = gate
        listed.append(gate)
    return tuple(listed)


def next_gate(listed: tuple[Gate, ...]) -> Gate | None:
    """The first gate that is not open, or None when the line may be crossed."""
    return next((gate for gate in listed if not gate.is_open), None)
