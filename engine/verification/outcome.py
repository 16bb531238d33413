"""What a verification found, as values. Imports only the standard library, so screens may hold them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.cutover.outcome import TableComparison


@dataclass(frozen=True, slots=True)
class NotCompared:
    """One table that was left out."""

    source: str
    """Schema-qualified, for display."""

    target: str | None
    """None when the subscription does not have the table."""

    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Both sides of a subscription at one position."""

    lsn: str
    """Position of the source's log: everything committed before it was compared, and nothing else."""

    taken_at: datetime
    """When the snapshots were taken."""

    is_quick: bool
    """Only numbers of rows were compared."""

    comparisons: tuple[TableComparison, ...]
    """Sorted by target table."""

    not_compared: tuple[NotCompared, ...]
    seconds: float
    """How long it took, snapshots included."""

    standstill_seconds: float | None
    """How long the apply stream stood still, about; None when no engine ran."""

    @property
    def differing(self) -> tuple[TableComparison, ...]:
        """Tables that were compared and are not equal."""
        return tuple(one for one in self.comparisons if one.problem is None and not one.equal)

    @property
    def unknown(self) -> tuple[TableComparison, ...]:
        """Tables that could not be compared to the end."""
        return tuple(one for one in self.comparisons if one.problem is not None)

    @property
    def rows(self) -> int:
        """Rows of the source that were compared."""
        return sum(one.source_rows for one in self.comparisons)

    @property
    def is_equal(self) -> bool:
        """Whether every table was compared and is equal."""
        return not self.not_compared and all(one.equal for one in self.comparisons)
