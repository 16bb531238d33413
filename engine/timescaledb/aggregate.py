"""Continuous aggregates as values. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.catalog.table import TableName
from engine.timescaledb.hypertable import Columnstore, Extent


@dataclass(frozen=True, slots=True)
class AggregateIndex:
    """An index on the rows of a continuous aggregate."""

    name: str | None
    """None when the server chose it."""

    is_unique: bool
    definition: str
    """SQL from USING on."""

    @property
    def kind(self) -> tuple[bool, str]:
        """What it is, whatever its name."""
        return self.is_unique, self.definition


@dataclass(frozen=True, slots=True)
class ContinuousAggregate:
    """A view whose rows are kept in a hypertable of their own."""

    name: TableName
    oid: int = field(compare=False)
    """Of the view."""

    materialization: TableName = field(compare=False)
    """The hypertable that keeps its rows; its number is another one on each server."""

    materialization_oid: int = field(compare=False)
    reads: TableName
    """The hypertable, or the continuous aggregate, that it is made of."""

    level: int
    """0 when that is a hypertable, else one more than that aggregate's."""

    query: str
    """Without its semicolon, all names with their schema."""

    columns: tuple[str, ...]
    bucket_column: str
    extent: Extent
    """Of its chunks."""

    is_real_time: bool
    """Whether newer rows are computed while it is read."""

    is_finalized: bool
    """Whether it keeps results; before 2.7 it kept the state of each aggregate function."""

    indexes: tuple[AggregateIndex, ...]
    columnstore: Columnstore | None
    comment: str | None
    column_comments: tuple[tuple[str, str], ...]
    """Column and comment."""

    owner: str
