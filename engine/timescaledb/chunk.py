"""Chunks by the oid that the source sends their changes under. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass

from engine.catalog.table import TableName


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a hypertable's rows."""

    oid: int
    name: TableName
    hypertable: TableName
    """For a continuous aggregate's rows, the hypertable that keeps them."""

    hypertable_oid: int
    is_compressed: bool
    """Whether rows of it are written in columns: COPY of the chunk itself would leave them out."""

    is_tiered: bool
    """Whether its rows are in object storage, behind a foreign table."""
