"""Tables by schema, for choosing many at once, and what a choice leaves behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from engine.catalog.table import SourceTable, TableName


@dataclass(frozen=True, slots=True)
class SchemaTables:
    """All tables of one schema that can be listed."""

    schema: str
    tables: tuple[SourceTable, ...]
    """By name."""

    @property
    def movable(self) -> tuple[SourceTable, ...]:
        """Tables that can be chosen: without a problem."""
        return tuple(table for table in self.tables if table.problem is None)

    @property
    def without_identity(self) -> tuple[SourceTable, ...]:
        """Tables whose updates and deletes cannot be published with the identity they have now."""
        return tuple(table for table in self.movable if not table.can_replicate_updates)

    @property
    def size_bytes(self) -> int:
        """Heap and TOAST without indexes."""
        return sum(table.size_bytes for table in self.tables)

    @property
    def approximate_rows(self) -> int:
        """Planner's estimate."""
        return sum(table.approximate_rows for table in self.tables)


def by_schema(tables: Iterable[SourceTable]) -> tuple[SchemaTables, ...]:
    """Tables by their schema, both by name."""
    grouped: defaultdict[str, list[SourceTable]] = defaultdict(list)
    for table in sorted(tables, key=lambda table: table.name):
        grouped[table.name.schema].append(table)
    return tuple(SchemaTables(schema, tuple(within)) for schema, within in sorted(grouped.items()))


@dataclass(frozen=True, slots=True)
class TableTie:
    """A table that does not stand on its own."""

    table: TableName
    other: TableName
    constraint: str | None
    """The foreign key of ``table`` that refers to ``other``; None when ``table`` inherits from ``other``."""


def left_behind(ties: Iterable[TableTie], chosen: Collection[TableName]) -> tuple[TableTie, ...]:
    """Ties of a choice that break it.

    A foreign key of a chosen table to one that is not chosen cannot be valid on the target. A table that is
    chosen without its children comes without their rows, which a query on the source shows with it.
    """
    names = frozenset(chosen)
    return tuple(
        tie
        for tie in ties
        if (tie.constraint is not None and tie.table in names and tie.other not in names)
        or (tie.constraint is None and tie.other in names and tie.table not in names)
    )
