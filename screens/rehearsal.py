"""A cutover without the writers' stop: how long its parts take, and what the outage would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.cutover.outcome import ComparisonProgress, FenceOutcome, SequenceOutcome, TableComparison
from engine.errors import Failure
from screens.format import human_duration, plural
from screens.gates import Gate, problems_of
from screens.migration import RehearsalRecord
from screens.services import MigrationServices


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal measured and found."""

    record: RehearsalRecord
    fence: FenceOutcome
    sequences: tuple[SequenceOutcome, ...]
    comparisons: tuple[TableComparison, ...]


def rehearse(
    services: MigrationServices, on_progress: Callable[[ComparisonProgress], None]
) -> Rehearsal | Failure:
    """Send a fence, read the sequences and compare the tables (blocking); the target stays as it is.

    Returns:
        What was measured, or why a part could not be done.
    """
    at = services.now()
    fence = services.cutover.pass_fence()
    if isinstance(fence, Failure):
        return fence
    if not fence.reached:
        return fence.failure or Failure(
            f"The fence did not come through within {human_duration(fence.seconds)}",
            hint="Look at the lag on Live; the outage would be at least that long",
        )
    began = services.monotonic_seconds()
    sequences = services.cutover.measure_sequences()
    if isinstance(sequences, Failure):
        return sequences
    read = services.monotonic_seconds()
    comparisons = services.compare_tables(on_progress)
    if isinstance(comparisons, Failure):
        return comparisons
    compared = services.monotonic_seconds()
    record = RehearsalRecord(at, fence.seconds, read - began, compared - read)
    return Rehearsal(record, fence, sequences, comparisons)


def outage_words(record: RehearsalRecord) -> str:
    """The predicted outage.

    >>> from datetime import UTC, datetime
    >>> outage_words(RehearsalRecord(datetime(2026, 1, 1, tzinfo=UTC), 0.5, 0.2, 2.8))
    '4–9 s'
    """
    low, high = record.low_seconds, record.high_seconds
    if high < 60:
        return f"{max(1, round(low))}–{round(high)} s"
    return f"{human_duration(low)} to {human_duration(high)}"


def rehearsal_text(rehearsal: Rehearsal, listed: tuple[Gate, ...]) -> str:
    """The whole result."""
    record = rehearsal.record
    problems = [
        f"  {outcome.source}: {outcome.problem}" for outcome in rehearsal.sequences if outcome.problem
    ]
    behind = [f"  {outcome.target}: {outcome.note}" for outcome in rehearsal.sequences if outcome.note]
    different = [
        f"  {comparison.source}: {problems_of(comparison)}"
        for comparison in rehearsal.comparisons
        if problems_of(comparison)
    ]
    lines = [
        f"Predicted write outage at the current rate: {outage_words(record)}",
        "",
        f"Fence, written to committed   {human_duration(record.fence_seconds)}",
        f"Sequences                     {human_duration(record.sequences_seconds)}, "
        f"{plural(len(rehearsal.sequences), 'sequence')} read, none set",
        f"Comparison                    {human_duration(record.compare_seconds)}, "
        f"{plural(len(rehearsal.comparisons), 'table')}",
    ]
    if problems:
        lines += ["", "Sequences that could not be set:", *problems]
    if behind:
        lines += ["", "Sequences that would be moved past their rows:", *behind]
    if different:
        lines += [
            "",
            "Tables that differed. While the writers go on that is to be expected, after their stop not:",
            *different,
        ]
    lines += ["", "Gates now:"]
    lines += [f"  {gate.name.value}: {gate.state.value}, {gate.evidence}" for gate in listed]
    return "\n".join(lines)
