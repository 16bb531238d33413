"""The lines of the table list: tables with their problems, under their schemas or in another order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from engine.catalog.schema_tables import TableTie, by_schema, left_behind
from engine.catalog.table import ReplicaIdentity, SourceTable, TableName
from screens.format import human_bytes, human_estimate, plural


class TableOrder(Enum):
    """How the list is sorted."""

    NAME = "by schema"
    SIZE = "by size"
    ROWS = "by rows"
    PROBLEMS = "problems first"

    @property
    def following(self) -> TableOrder:
        """The order that the key for it goes on to."""
        orders = list(TableOrder)
        return orders[(orders.index(self) + 1) % len(orders)]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A table of the list."""

    table: SourceTable
    target: TableName
    """Where it lands."""

    problems: tuple[str, ...]
    """What stands against moving it as it is, the worst first."""

    searched: str
    """Its name in small letters, as it is shown."""


@dataclass(frozen=True, slots=True)
class SchemaLine:
    """The line above the tables of a schema; those that are shown."""

    schema: str
    tables: tuple[SourceTable, ...]


Line = SchemaLine | TableRow

_KEYS: Mapping[TableOrder, Callable[[TableRow], tuple[object, ...]]] = {
    TableOrder.SIZE: lambda row: (-row.table.size_bytes, row.table.name),
    TableOrder.ROWS: lambda row: (-row.table.approximate_rows, row.table.name),
    TableOrder.PROBLEMS: lambda row: (row.table.problem is None, not row.problems, row.table.name),
}


def problems_by_table(
    tables: Iterable[SourceTable],
    left: Iterable[TableTie],
    shared: Mapping[TableName, Sequence[TableName]],
) -> Mapping[TableName, tuple[str, ...]]:
    """What stands against moving each table as it is.

    Args:
        tables: All that can be listed.
        left: Ties that the choice breaks.
        shared: Target tables that several chosen tables land in, with these.
    """
    found: defaultdict[TableName, list[str]] = defaultdict(list)
    for table in tables:
        if table.problem is not None:
            found[table.name].append(f"cannot be moved: {table.problem}")
        elif not table.can_replicate_updates:
            found[table.name].append("no key: the Identity step proposes one")
    for tie in left:
        if tie.constraint is None:
            found[tie.other].append(f"{tie.table}, which inherits from it, is not chosen")
        else:
            found[tie.table].append(f"refers to {tie.other}, which is not chosen")
    for target, sources in shared.items():
        for source in sources:
            others = plural(len(sources) - 1, "other table")
            found[source].append(f"shares {target} on the target with {others}")
    return {name: tuple(problems) for name, problems in found.items()}


def lines_in_order(rows: Sequence[TableRow], order: TableOrder) -> list[Line]:
    """The lines of the list.

    Args:
        rows: Those that are shown.
        order: By name, each schema has a line of its own; otherwise none has.
    """
    if order is TableOrder.NAME:
        by_name = {row.table.name: row for row in rows}
        lines: list[Line] = []
        for schema in by_schema(row.table for row in rows):
            lines.append(SchemaLine(schema.schema, schema.tables))
            lines.extend(by_name[table.name] for table in schema.tables)
        return lines
    return [*sorted(rows, key=_KEYS[order])]


def missing_table(tie: TableTie) -> TableName:
    """The table that a broken tie lacks."""
    return tie.table if tie.constraint is None else tie.other


def completed(
    ties: Collection[TableTie], chosen: Collection[TableName], movable: Collection[TableName]
) -> frozenset[TableName]:
    """Tables to choose too, so that as few ties as possible are broken.

    Args:
        ties: All there are.
        chosen: The choice.
        movable: Tables that can be chosen.
    """
    names = set(chosen)
    can_move = frozenset(movable)
    while True:
        missing = {missing_table(tie) for tie in left_behind(ties, names)} & can_move
        if not missing:
            return frozenset(names - set(chosen))
        names |= missing


def tie_words(left: Sequence[TableTie], to_add: int) -> str:
    """What a choice breaks, in one line; empty when nothing."""
    if not left:
        return ""
    tie = left[0]
    if tie.constraint is None:
        said = f"{tie.table} inherits from {tie.other} and is not chosen"
    else:
        said = f"{tie.table} references {tie.other}, which is not chosen"
    more = f" (and {len(left) - 1:,} more)" if len(left) > 1 else ""
    return f"p adds {plural(to_add, 'table')}: {said}{more}" if to_add else f"{said} and cannot be{more}"


def key_words(table: SourceTable) -> tuple[str, str]:
    """How updates and deletes find their row, and the tone to say it in."""
    if table.problem is not None:
        return "✗ cannot", "bad"
    if table.replica_identity is ReplicaIdentity.FULL:
        return "full row", ""
    if table.replica_identity is ReplicaIdentity.INDEX:
        return "index", ""
    if table.replica_identity is ReplicaIdentity.DEFAULT and table.has_primary_key:
        return "primary", ""
    return "none", "warn"


def table_details(row: TableRow) -> str:
    """Everything known about a table, for reading."""
    table = row.table
    lines = [
        f"Kind               {table.kind.value}",
        f"Rows               {human_estimate(table.approximate_rows)} (estimate)",
        f"Size               {human_bytes(table.size_bytes)} without indexes",
        f"Primary key        {'yes' if table.has_primary_key else 'no'}",
        f"Replica identity   {table.replica_identity.name.lower()}",
        f"Usable index       {table.usable_index or 'none'}",
        f"On the target      {row.target}",
    ]
    lines += [f"Problem            {problem}" for problem in row.problems]
    return "\n".join(lines)
