"""What the engine shows of itself: frozen values, made by the engine, read by any number of views.

A :class:`Snapshot` is complete in itself; a reader that misses one loses nothing but time resolution.
An unknown number is ``None``, never 0. This module imports only the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from engine.errors import Failure


class TableState(Enum):
    """Where one table is, with the letters and words of ``pg_subscription_rel`` (PostgreSQL 52.55)."""

    INIT = "i"
    DATASYNC = "d"
    FINISHEDCOPY = "f"
    SYNCDONE = "s"
    READY = "r"

    @property
    def word(self) -> str:
        """The word a person reads beside the letter."""
        return _STATE_WORDS[self]


_STATE_WORDS = {
    TableState.INIT: "waiting",
    TableState.DATASYNC: "copying",
    TableState.FINISHEDCOPY: "catching up",
    TableState.SYNCDONE: "synchronized",
    TableState.READY: "ready",
}


class Phase(Enum):
    """What the engine as a whole is doing."""

    STARTING = "starting"
    COPYING = "copying"
    """At least one table has not reached s or r."""

    REPLICATING = "replicating"
    """Every table that is not set aside is s or r; changes are applied as they come."""

    PAUSED = "paused"
    RETRYING = "retrying"
    """A connection was lost; ``Snapshot.failure`` says which and ``retry_at`` when the next try is."""

    STOPPING = "stopping"
    STOPPED = "stopped"
    """The engine thread has ended on request; the position is recorded."""

    FAILED = "failed"
    """The engine thread has ended because of ``Snapshot.failure``."""


@dataclass(frozen=True, slots=True)
class CopyRate:
    """How fast rows were copied over the last several seconds."""

    rows_per_second: float
    bytes_per_second: float
    """Of the COPY stream; the same rows take another number of bytes on disk."""

    seconds_left: float | None
    """At this rate; None when nothing tells how much is left, or nothing moves."""

    @property
    def time_left(self) -> str | None:
        """``seconds_left`` in words, as coarse as an estimate is: ``45 s``, ``12 min``, ``3 h 10 min``."""
        if self.seconds_left is None:
            return None
        seconds = max(1, round(self.seconds_left))
        if seconds < 60:
            return f"{seconds} s"
        minutes = round(seconds / 60)
        if minutes < 60:
            return f"{minutes} min"
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02} min" if hours < 24 else f"{hours // 24} d {hours % 24:02} h"


@dataclass(frozen=True, slots=True)
class CopyTotal:
    """All copies of the subscription together."""

    rows: int
    size_bytes: int
    """Of the COPY streams."""

    percent: int | None
    """How much of what the tables take on the source's disk is copied, by each table's rows; 100 only when
    all are. None when too much of it is in tables whose number of rows is not known or estimated too low."""

    exceeds_estimate: bool
    """Whether ``percent`` is unknown because a table has more rows than estimated."""

    rate: CopyRate | None
    """None when nothing is left to copy, and in the first second."""


@dataclass(frozen=True, slots=True)
class TableProgress:
    """One source table of the subscription."""

    source_oid: int
    """Key of the row: names can change and collide, oids do not."""

    source_name: str
    """Schema-qualified and quoted where SQL needs it, for display."""

    target_name: str
    state: TableState
    rows_copied: int
    bytes_copied: int
    """Of the COPY stream, as ``pg_stat_progress_copy.bytes_processed`` counts them (PostgreSQL 27.4.3)."""

    approximate_rows: int | None
    """What the source's statistics say; None or 0 when it was never analyzed."""

    approximate_size_bytes: int | None
    """On the source's disk, TOAST included, indexes not."""

    changes_applied: int
    """Row changes applied by the live stream since this engine started."""

    activity: str
    """Why it is or is not moving, in words: ``copying``, ``waiting for a free sync worker (4 of 4 busy)``."""

    last_error: str | None
    """Set when the table is set aside; it stays until the table is retried or removed."""

    state_since: datetime | None
    copy_rate: CopyRate | None = None
    """While it is being copied, after the first second of it."""

    @property
    def is_copied(self) -> bool:
        """Whether all rows of the snapshot are on the target."""
        return self.state not in (TableState.INIT, TableState.DATASYNC)

    @property
    def exceeds_estimate(self) -> bool:
        """Whether more rows were copied than the table was thought to have, and it goes on."""
        return not self.is_copied and self.rows_copied > (self.approximate_rows or 0) > 0

    @property
    def copied_share(self) -> float | None:
        """How much is copied, by rows: 0.0 to 1.0, None when nothing tells how many there are."""
        if self.is_copied:
            return 1.0
        if self.rows_copied == 0:
            return 0.0
        if not self.approximate_rows or self.exceeds_estimate:
            return None
        return self.rows_copied / self.approximate_rows

    @property
    def copied_percent(self) -> int | None:
        """:attr:`copied_share` in percent, rounded down; 100 only when all rows are copied."""
        if self.is_copied:
            return 100
        if self.copied_share is None:
            return None
        return min(99, self.rows_copied * 100 // max(1, self.approximate_rows or 0))


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the target is behind the source."""

    lag_bytes: int
    """Source flush position minus the position durable on the target."""

    lag_seconds: float | None
    """Age of the last applied commit when something is outstanding, 0.0 when nothing is."""

    retained_wal_bytes: int | None
    """WAL the source keeps for the apply slot (current position minus ``restart_lsn``)."""


@dataclass(frozen=True, slots=True)
class FenceSeen:
    """A fence whose transaction is durable on the target (:mod:`engine.cutover.fence`)."""

    text: str
    """Tells it from any other."""

    lsn: str
    """End of its transaction on the source, as ``X/X``."""

    changes_after: int
    """Row changes that were committed on the source after it and are applied by now."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The engine at one moment."""

    seq: int
    """Grows by one per publish; equal means nothing new."""

    taken_monotonic_seconds: float
    """``time.monotonic()`` when it was taken; a view says how stale it is."""

    taken_at: datetime
    phase: Phase
    subscription: str
    tables: tuple[TableProgress, ...]
    """Sorted by source name."""

    source_flush_lsn: str | None
    applied_lsn: str | None
    """Position durable on the target, as ``X/X``."""

    lag: Lag | None
    changes_per_second: float | None
    """Row changes applied, averaged over about ten seconds."""

    copy_total: CopyTotal
    transactions_applied: int
    sync_workers_busy: int
    sync_workers: int
    failure: Failure | None
    """Why the engine is retrying or has failed."""

    retry_at_monotonic_seconds: float | None
    waiting_for: str | None = None
    """What on the target keeps the apply stream from moving, in words; None while it moves."""

    objects_to_build: int = 0
    """Indexes, constraints and others of a restored schema that wait for rows or are being built."""

    objects_failed: int = 0
    """Of those, what the target refused."""

    chunks_known_lsn: str | None = None
    """Every chunk that hypertables had at this position of the source is among the tables; None when no
    hypertable is published."""

    fences: tuple[FenceSeen, ...] = ()
    """The last ones this engine has seen, oldest first."""

    def fence(self, text: str) -> FenceSeen | None:
        """The fence of that text, or None while it was not seen."""
        return next((fence for fence in self.fences if fence.text == text), None)

    def count(self, state: TableState) -> int:
        """How many tables are in ``state``."""
        return sum(1 for table in self.tables if table.state is state)

    @property
    def tables_set_aside(self) -> tuple[TableProgress, ...]:
        """Tables that stopped with an error of their own."""
        return tuple(table for table in self.tables if table.last_error is not None)

    @property
    def all_tables_synchronized(self) -> bool:
        """Whether there are tables and each is in s or r with no error."""
        return bool(self.tables) and all(
            table.state in (TableState.SYNCDONE, TableState.READY) and table.last_error is None
            for table in self.tables
        )


class Severity(Enum):
    """How loudly an event is shown."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in order; the log file has all of them."""

    number: int
    at: datetime
    severity: Severity
    text: str
