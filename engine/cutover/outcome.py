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
    """One row that one side has more often than the other, or that both have with other values."""

    side: Side | None
    """The side that has it, or has it more often; None when both have a row of this key with other values."""

    row: str
    """Its key, as a condition to look it up by; of a table without a key the row's place and digest. Never
    another value."""

    @property
    def words(self) -> str:
        """As a person reads it."""
        return f"differs: {self.row}" if self.side is None else f"only on the {self.side.value}: {self.row}"


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table of the target, compared with the source tables whose rows it holds: nearly always one."""

    source: str
    """Schema-qualified, for display; several are joined by ``+``."""

    target: str
    source_rows: int
    target_rows: int
    equal: bool
    """Whether the target has every published column and both sides have, in any order, the same rows."""

    differing: tuple[RowDifference, ...] = ()
    """Some of the rows that differ."""

    source_only_columns: tuple[str, ...] = ()
    """Columns the target lacks; they were not compared."""

    target_only_columns: tuple[str, ...] = ()
    """Columns that are not published; they were not compared, and are no difference."""

    problem: str | None = None
    """Why the rows could not be compared, or None."""

    more_differ: bool = False
    """Whether further rows differ than are named."""


@dataclass(frozen=True, slots=True)
class ComparisonProgress:
    """How far the comparison of several tables is."""

    tables_done: int
    tables_total: int
    rows_compared: int
    """Rows of the source read so far."""

    current: str
    """The source table begun or finished last."""

    rows_total: int | None = None
    """Rows of the source in all, as the planner estimates them."""


@dataclass(frozen=True, slots=True)
class FenceOutcome:
    """Whether everything the source had committed up to the fence is durable on the target."""

    fence: str
    """Tells it from any other; :meth:`engine.snapshot.Snapshot.fence` finds it."""

    statement: str
    """What wrote it on the source."""

    fence_lsn: str
    """End of its transaction on the source."""

    applied_lsn: str | None
    reached: bool
    comes_through_stream: bool
    """Whether the message itself has to arrive; from a server before 14 it is only its position."""

    seconds: float
    """From before it was written."""

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

    long_transactions: tuple[str, ...] = ()
    """Transactions that have written and been open for long, and prepared ones of any age, one line each."""

    hidden_sessions: int = 0
    """Sessions of other users that our role may not look into."""


@dataclass(frozen=True, slots=True)
class ReadOnlyRecord:
    """One setting of ``default_transaction_read_only`` that is made on the source for the cutover."""

    database: str
    role: str
    """Empty: for every role in the database that has no setting of its own."""

    before: str | None
    """What was set there before, None for nothing."""

    @property
    def words(self) -> str:
        """Whom it is about."""
        return f"role {self.role} in database {self.database}" if self.role else f"database {self.database}"


@dataclass(frozen=True, slots=True)
class SourceSession:
    """A session on the source that a read-only setting does not reach any more."""

    pid: int
    started_at: datetime
    """Tells it from a later one of the same pid."""

    role: str
    words: str
    """Who and what it is, in one line."""


@dataclass(frozen=True, slots=True)
class ReadOnlyOffer:
    """How the source can be kept from writing."""

    database: ReadOnlyRecord
    roles: tuple[ReadOnlyRecord, ...]
    """Roles that may log in and are neither ours nor the provider's."""

    sessions: tuple[SourceSession, ...]
    """Of other programs, open now."""
