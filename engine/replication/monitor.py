"""What every thread of the engine tells about its tables, and the frozen picture made of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from engine.replication.state import TableRow
from engine.snapshot import FenceSeen, TableProgress, TableState

_ACTIVITIES = {
    TableState.INIT: "waiting for a free sync worker",
    TableState.DATASYNC: "starting the copy",
    TableState.FINISHEDCOPY: "catching up",
    TableState.SYNCDONE: "the apply stream takes over",
    TableState.READY: "replicating",
}


_FENCES_KEPT = 8
"""Of a rehearsal, of a cutover that was begun again, and the two of a cutover."""


def recorded_progress(row: TableRow) -> TableProgress:
    """What the target has recorded of a table, as a view shows it."""
    return TableProgress(
        source_oid=row.oid,
        source_name=str(row.source),
        target_name=str(row.target),
        state=row.state,
        rows_copied=row.rows_copied,
        bytes_copied=row.bytes_copied,
        approximate_rows=row.approximate_rows,
        approximate_size_bytes=row.approximate_size_bytes,
        changes_applied=0,
        activity=_ACTIVITIES[row.state] if row.last_error is None else "set aside",
        last_error=row.last_error,
        state_since=row.updated_at,
    )


class Monitor:
    """Latest known progress of each table; every method is short and safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[int, TableProgress] = {}
        self._changes_applied = 0
        self._fences: tuple[FenceSeen, ...] = ()

    @property
    def fences(self) -> tuple[FenceSeen, ...]:
        """The last fences that are durable on the target, oldest first."""
        with self._lock:
            return self._fences

    def passed_fences(self, changes: int, fences: tuple[FenceSeen, ...]) -> None:
        """A commit became durable.

        Args:
            changes: Row changes in it, all of them behind the fences that were seen before.
            fences: Fences in it.
        """
        with self._lock:
            earlier = (replace(fence, changes_after=fence.changes_after + changes) for fence in self._fences)
            known = {fence.text for fence in self._fences}
            # After a lost connection the source may send one again.
            new = (fence for fence in fences if fence.text not in known)
            self._fences = (*earlier, *new)[-_FENCES_KEPT:]

    def load(self, rows: Iterable[TableRow]) -> None:
        """Start from what the target has recorded; counters of this engine's life are kept."""
        with self._lock:
            known = self._tables
            self._tables = {row.oid: _updated(known.get(row.oid), recorded_progress(row)) for row in rows}

    def state(self, source_oid: int, state: TableState) -> None:
        """A table moved to ``state``."""
        self._change(source_oid, state=state, activity=_ACTIVITIES[state], state_since=datetime.now(UTC))

    def activity(self, source_oid: int, activity: str) -> None:
        """What a table is doing or waiting for."""
        self._change(source_oid, activity=activity)

    def copied(self, source_oid: int, rows: int, size_bytes: int) -> None:
        """How far a table's copy is."""
        self._change(source_oid, rows_copied=rows, bytes_copied=size_bytes)

    def applied(self, source_oid: int, changes: int) -> None:
        """``changes`` more of a table are durable on the target."""
        with self._lock:
            self._changes_applied += changes
            table = self._tables.get(source_oid)
            if table is not None:
                self._tables[source_oid] = replace(table, changes_applied=table.changes_applied + changes)

    def set_aside(self, source_oid: int, message: str) -> None:
        """A table stopped with an error of its own."""
        self._change(source_oid, last_error=message, activity="set aside")

    def tables(self) -> tuple[TableProgress, ...]:
        """All tables, sorted by source name."""
        with self._lock:
            return tuple(sorted(self._tables.values(), key=lambda table: table.source_name))

    def table(self, source_oid: int) -> TableProgress | None:
        """One table."""
        with self._lock:
            return self._tables.get(source_oid)

    @property
    def changes_applied(self) -> int:
        """Row changes that became durable since the engine started."""
        return self._changes_applied

    def _change(self, source_oid: int, **fields: object) -> None:
        with self._lock:
            table = self._tables.get(source_oid)
            if table is not None:
                self._tables[source_oid] = replace(table, **fields)  # type: ignore[arg-type]


def _updated(earlier: TableProgress | None, recorded: TableProgress) -> TableProgress:
    """``recorded`` with what is not recorded, or not as often."""
    if earlier is None:
        return recorded
    recorded = replace(recorded, changes_applied=earlier.changes_applied)
    is_same = earlier.state is recorded.state and earlier.last_error is None and recorded.last_error is None
    if not is_same:
        return recorded
    # A copy that is under way is recorded once a second; it must not seem to step back.
    return replace(
        recorded,
        activity=earlier.activity,
        rows_copied=earlier.rows_copied,
        bytes_copied=earlier.bytes_copied,
    )
