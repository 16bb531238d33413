"""Which tables are compared with which, at one position.

A target table is compared with all source tables whose rows it holds (``--table-map`` may bring several
together): what one of them lacks cannot be told from what another has too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.catalog.table import TableName
from engine.replication.publication import PublishedTable
from engine.replication.state import TableRow
from engine.snapshot import TableState
from engine.verification.outcome import NotCompared


@dataclass(frozen=True, slots=True)
class Group:
    """One target table and the source tables whose rows are in it."""

    target: TableName
    sources: tuple[PublishedTable, ...]

    @property
    def name(self) -> str:
        """The source tables, for display."""
        return " + ".join(str(source.name) for source in self.sources)

    @property
    def approximate_rows(self) -> int:
        """The planner's estimate."""
        return sum(source.approximate_rows for source in self.sources)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Every table of a subscription and of its publications is in one of the two."""

    groups: tuple[Group, ...]
    not_compared: tuple[NotCompared, ...]


def group_tables(rows: Sequence[TableRow], published: Sequence[PublishedTable], lsn: int) -> Grouping:
    """Find what can be compared at ``lsn``.

    Args:
        rows: The subscription's tables, as the target's snapshot shows them.
        published: What its publications publish.
        lsn: Position of the snapshots.
    """
    by_oid = {table.oid: table for table in published}
    members: dict[TableName, list[TableRow]] = {}
    for row in rows:
        members.setdefault(row.target, []).append(row)
    groups: list[Group] = []
    left_out: list[NotCompared] = []
    for target, group in sorted(members.items()):
        reasons = {row.oid: _reason(row, by_oid, lsn) for row in group}
        if not any(reasons.values()):
            # A hypertable is read with its chunks.
            groups.append(Group(target, tuple(by_oid[row.oid] for row in group if not row.is_chunk)))
            continue
        for row in group:
            reason = reasons[row.oid] or f"{target} also holds rows of a table that cannot be compared"
            left_out.append(NotCompared(str(row.source), str(target), reason))
    known = {row.oid for row in rows}
    left_out += [
        NotCompared(
            str(table.name), None, "published, and not taken up yet: livesync-tui refresh-publication"
        )
        for table in published
        if table.oid not in known
    ]
    return Grouping(tuple(groups), tuple(sorted(left_out, key=lambda one: one.source)))


def _reason(row: TableRow, published: Mapping[int, PublishedTable], lsn: int) -> str | None:
    """Why a table is not at ``lsn``, or None."""
    if row.last_error is not None:
        return f"set aside: {row.last_error}"
    is_gone = row.is_chunk and row.hypertable_oid in published and row.oid not in published
    if row.oid not in published and not is_gone:
        return "no longer published: livesync-tui refresh-publication"
    is_synchronized = row.state is TableState.READY or (
        row.state is TableState.SYNCDONE and row.lsn is not None and row.lsn <= lsn
    )
    return None if is_synchronized else f"not synchronized yet ({row.state.word})"
