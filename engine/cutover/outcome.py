"""What the steps of a cutover found or did, as values. Imports only the standard library, so screens may hold
them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.errors import Failure, Side


@dataclass(frozen=True, slots=True)
class SequenceOutcome:
    """One sequence of the source and what became of it on the target."""

    source: str
    """Schema-qualified, for display."""

    target: str
    value: int | None
    """``last_value`` the target's sequence has now; None when it was not set."""

    is_called: bool
    """Whether ``value`` has been handed out, so that the next one is one increment further."""

    problem: str | None
    """Why it was not set, or None."""

    note: str | None = None
    """What was done beyond carrying the value over, or None."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that one side has and the other does not, or has more often."""

    side: Side
    """The side that has it."""

    row: str
    """Its compared columns as PostgreSQL writes a row, cut short."""


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table, compared row by row."""

    source: str
    """Schema-qualified, for display."""

    target: str
    source_rows: int
    target_rows: int
    equal: bool
    """Whether both sides have the same columns and, in any order, the same rows."""

    differing: tuple[RowDifference, ...] = ()
    """The first rows that differ, in the order of their text; a changed row is there once for each side."""

    source_only_columns: tuple[str, ...] = ()
    """Columns the target lacks; they were not compared."""

    target_only_columns: tuple[str, ...] = ()
    problem: str | None = None
    """Why the rows could not be compared, or None."""


@dataclass(frozen=True, slots=True)
class ComparisonProgress:
    """How far the comparison of several tables is."""

    tables_done: int
    tables_total: int
    rows_compared: int
    """Rows of the source in the tables that are done."""

    current: str
    """The source table begun or finished last."""


@dataclass(frozen=True, slots=True)
class DrainOutcome:
    """Whether everything the source had written up to the fence is durable on the target."""

    fence_lsn: str
    applied_lsn: str | None
    reached: bool
    seconds: float
    failure: Failure | None
    """Why the wait ended before its time, or None."""


@dataclass(frozen=True, slots=True)
class WriteActivity:
    """Who writes to a database at one moment."""

    taken_at: datetime
    position_lsn: str
    """Insert position of the write-ahead log; other databases of the server move it too."""

    sessions: tuple[str, ...]
    """Sessions and prepared transactions that write or are about to, one line each."""

    row_changes_total: int
    """Rows inserted, updated and deleted since the statistics began; only differences mean anything."""
