"""Tables of a migration under what they belong to: all chunks of a hypertable are one line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.snapshot import TableProgress, TableState

_CHUNK = re.compile(r"^_timescaledb_internal\._hyper_\d+_\d+_chunk\Z")
"""What TimescaleDB calls a chunk unless it is told otherwise."""

_ORDER = tuple(TableState)


@dataclass(frozen=True, slots=True)
class ChunkGroup:
    """All chunks of one hypertable, and the hypertable itself where it is replicated too."""

    name: str
    """Of the hypertable, as it is shown."""

    tables: tuple[TableProgress, ...]

    def count(self, state: TableState) -> int:
        """How many are in ``state``."""
        return sum(table.state is state for table in self.tables)

    @property
    def state(self) -> TableState:
        """Of the one that is furthest behind."""
        return min((table.state for table in self.tables), key=_ORDER.index)

    @property
    def copied_count(self) -> int:
        """How many are copied."""
        return sum(table.is_copied for table in self.tables)

    @property
    def rows_copied(self) -> int:
        return sum(table.rows_copied for table in self.tables)

    @property
    def bytes_copied(self) -> int:
        """Of the COPY streams."""
        return sum(table.bytes_copied for table in self.tables)

    @property
    def approximate_rows(self) -> int | None:
        """None when one of them was never analyzed."""
        return _sum(table.approximate_rows for table in self.tables)

    @property
    def approximate_size_bytes(self) -> int | None:
        """On the source's disk; None when it is not known of one of them."""
        return _sum(table.approximate_size_bytes for table in self.tables)

    @property
    def changes_applied(self) -> int:
        return sum(table.changes_applied for table in self.tables)

    @property
    def set_aside(self) -> tuple[TableProgress, ...]:
        """Those that stopped with an error of their own."""
        return tuple(table for table in self.tables if table.last_error is not None)


def _sum(numbers: Iterable[int | None]) -> int | None:
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def group_chunks(
    tables: Iterable[TableProgress], hypertables: Mapping[int, str] | None = None
) -> tuple[TableProgress | ChunkGroup, ...]:
    """Put chunks under their hypertables.

    Args:
        tables: As a snapshot has them.
        hypertables: Of source oids of chunks the hypertable's name, where it is known. Of others, what is
            called like a chunk goes under the table that its rows go into.

    Returns:
        Tables and groups; each group where the first of its tables was.
    """
    listed = tuple(tables)
    owners = [_owner(table, hypertables or {}) for table in listed]
    with_chunks = {owner for owner in owners if owner is not None}
    members: dict[str, list[TableProgress]] = defaultdict(list)
    lines: list[TableProgress | str] = []
    for table, owner in zip(listed, owners, strict=True):
        # The hypertable itself has no rows.
        name = table.source_name if owner is None and table.source_name in with_chunks else owner
        if name is None:
            lines.append(table)
            continue
        if name not in members:
            lines.append(name)
        members[name].append(table)
    return tuple(ChunkGroup(line, tuple(members[line])) if isinstance(line, str) else line for line in lines)


def _owner(table: TableProgress, hypertables: Mapping[int, str]) -> str | None:
    known = hypertables.get(table.source_oid)
    if known is None and _CHUNK.match(table.source_name):
        return table.target_name
    return known
