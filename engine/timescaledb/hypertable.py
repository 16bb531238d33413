"""Hypertables as values. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.catalog.table import TableName, quote_identifier

INTERNAL_SCHEMA = "_timescaledb_internal"
"""Where chunks are unless somebody chose another schema."""


@dataclass(frozen=True, slots=True, order=True)
class RoutineName:
    """A function or procedure by its schema and name, unquoted parts."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a dimension goes into one chunk."""

    length: int
    """In microseconds; of an integer dimension in what it counts."""

    is_integer: bool


@dataclass(frozen=True, slots=True)
class Dimension:
    """One column that rows are cut by."""

    column: str
    column_type: str
    """As SQL."""

    extent: Extent | None
    """Of a range; None when it is cut by hash."""

    partitions: int | None
    """Of a hash."""

    partitioning: RoutineName | None
    """What makes a time or a hash of the column's value; None for TimescaleDB's own."""

    integer_now: RoutineName | None
    """What says the present moment in what an integer dimension counts."""


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """One column of a columnstore's order."""

    name: str
    is_descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class SparseIndex:
    """A bloom filter, or least and greatest values, kept for each batch of a columnstore."""

    kind: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columnstore:
    """How chunks are written in columns, once a policy or a person says so."""

    segment_by: tuple[str, ...] | None
    """None when TimescaleDB chooses at the first write."""

    order_by: tuple[OrderColumn, ...] | None
    """None when TimescaleDB chooses at the first write."""

    merged: Extent | None
    """Up to what size chunks are merged while they are written in columns."""

    indexes: tuple[SparseIndex, ...]
    """Those that somebody asked for; others are made by themselves."""

    def is_same(self, other: Columnstore | None) -> bool:
        """Whether ``other`` does what this one says; what is left to TimescaleDB may be anything."""
        return (
            other is not None
            and self.segment_by in (None, other.segment_by)
            and self.order_by in (None, other.order_by)
            and self.merged == other.merged
            and set(self.indexes) == set(other.indexes)
        )


@dataclass(frozen=True, slots=True)
class Hypertable:
    """A table whose rows are in chunks; not one that holds a continuous aggregate."""

    name: TableName
    dimensions: tuple[Dimension, ...]
    """In the order they were added; the first is a range."""

    chunk_schema: str
    chunk_prefix: str | None
    """Begin of the chunks' names; None for TimescaleDB's own, which holds the hypertable's number."""

    columnstore: Columnstore | None
    skipping: tuple[str, ...]
    """Columns whose least and greatest value is kept for each chunk."""

    is_distributed: bool = field(default=False)
    """Over several servers, which ended with 2.13."""

    oid: int = field(default=0, compare=False)
