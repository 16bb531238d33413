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
    approximate_rows: int | None
    approximate_size_bytes: int | None
    changes_applied: int
    """Row changes applied by the live stream since this engine started."""

    activity: str
    """Why it is or is not moving, in words: ``copying``, ``waiting for a free sync worker (4 of 4 busy)``."""

    last_error: str | None
    """Set when the table is set aside; it stays until the table is retried or removed."""

    state_since: datetime | None


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

    copy_bytes_per_second: float | None
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
