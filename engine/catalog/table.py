"""Names and descriptions of tables, as values that screens may hold. Imports only the standard library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")


def quote_identifier(name: str) -> str:
    """Quote ``name`` for display the way a person would write it in SQL.

    Keywords are not quoted, so this is for reading; statements are composed with ``psycopg.sql``.

    >>> print(quote_identifier("orders"), quote_identifier('Odd "1" '))
    orders "Odd ""1"" "
    """
    if _PLAIN_IDENTIFIER.match(name):
        return name
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A schema-qualified table name, unquoted parts."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.table)}"


class TableKind(Enum):
    """What kind of relation holds the rows."""

    TABLE = "table"
    PARTITIONED = "partitioned"
    """The root of a declarative partition tree."""

    PARTITION = "partition"
    """A leaf or inner node of one."""


class ReplicaIdentity(Enum):
    """How updates and deletes name their row (``pg_class.relreplident``)."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One table of the source, as the Tables step lists it."""

    oid: int
    name: TableName
    kind: TableKind
    approximate_rows: int
    """Planner's estimate, 0 when never analyzed; a partitioned table's is the sum of its leaves."""

    size_bytes: int
    """Heap and TOAST without indexes; a partitioned table's is the sum of its leaves."""

    replica_identity: ReplicaIdentity
    has_primary_key: bool
    usable_index: str | None
    """A unique, valid, not partial, not deferrable index over NOT NULL columns only, other than the
    primary key; usable for REPLICA IDENTITY USING INDEX."""

    problem: str | None
    """Why it cannot be migrated as it is (unlogged, foreign), or None."""

    @property
    def can_replicate_updates(self) -> bool:
        """Whether UPDATE and DELETE can be published with the identity it has now."""
        if self.replica_identity is ReplicaIdentity.DEFAULT:
            return self.has_primary_key
        return self.replica_identity in (ReplicaIdentity.FULL, ReplicaIdentity.INDEX)
