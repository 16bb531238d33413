"""Partitions that come to and go from published roots: what PostgreSQL does not send about that.

A root published with ``publish_via_partition_root`` stands for all its partitions. Rows that a table holds
when it is attached are in no change and so never arrive; rows of a partition that is detached or dropped
stay on the target. Neither can be mended here, so both are said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import psycopg

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

# Read from the catalog, because pg_partition_tree() waits for the lock of every partition. CREATE TABLE …
# PARTITION OF writes a table's own columns together with its system columns; ATTACH PARTITION writes them
# anew, later. So one that was attached, be it in the transaction that made it, has none of the first kind.
_LEAVES = """
with recursive tree (root, oid) as (
    select c.oid, c.oid from pg_catalog.pg_class c where c.oid = any (%s::oid[]) and c.relkind = 'p'
    union all
    select tree.root, i.inhrelid
      from tree
      join pg_catalog.pg_inherits i on i.inhparent = tree.oid
)
select tree.root, tree.oid, n.nspname, c.relname,
       not exists (
           select from pg_catalog.pg_attribute own
             join pg_catalog.pg_attribute ctid
               on ctid.attrelid = own.attrelid and ctid.attnum = -1
              and ctid.xmin = own.xmin and ctid.cmin = own.cmin
            where own.attrelid = tree.oid and own.attnum > 0) as was_attached
  from tree
  join pg_catalog.pg_class c on c.oid = tree.oid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind <> 'p' or tree.root = tree.oid
"""

_LOCK_TIMEOUT = "set local lock_timeout = '500ms'"

_HAS_ROWS = "select pg_catalog.pg_relation_size(%s::oid::regclass) > 0"


class Move(Enum):
    """What happened to a partition."""

    ATTACHED_WITH_ROWS = "attached with rows"
    """Or with what may be rows: some may have come after it was attached."""

    GONE = "gone"


@dataclass(frozen=True, slots=True)
class PartitionMove:
    """One partition that came or went."""

    root_oid: int
    partition: TableName
    move: Move

    def sentence(self, root: str, target: str) -> str:
        """What it means for the target, and what to do.

        Args:
            root: The published table on the source, for display.
            target: Where its rows go, for display.
        """
        if self.move is Move.GONE:
            return (
                f"{self.partition} is no longer a partition of {root} (detached or dropped): the target "
                f"keeps its rows in {target}, so do the same there"
            )
        return (
            f"{self.partition} was attached to {root} and is not empty: PostgreSQL does not send the rows it "
            f"held before, so {target} lacks them. To have {root} copied again: take it out of the "
            f"publication, refresh-publication, empty {target}, put it in again, refresh-publication"
        )


class PartitionWatch:
    """Remembers the leaves of each published root; tells what is different the next time."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[int, TableName]] = {}

    def look(self, source: Session, roots: Collection[int]) -> tuple[PartitionMove, ...]:
        """Compare with the last look; a root that is looked at for the first time only becomes known.

        Args:
            source: A session on the source.
            roots: Oids of the partitioned tables that are published as such.

        Raises:
            EngineError: The source could not be read.
        """
        if not roots:
            self._seen = {}
            return ()
        try:
            rows = source.execute(_LEAVES, (list(roots),)).fetchall()
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "reading the partitions") from None
        now: dict[int, dict[int, TableName]] = {}
        attached: set[int] = set()
        for root, oid, schema, table, was_attached in rows:
            root_oid, leaf_oid = int(str(root)), int(str(oid))
            leaves = now.setdefault(root_oid, {})
            if leaf_oid != root_oid:
                leaves[leaf_oid] = TableName(str(schema), str(table))
                if was_attached:
                    attached.add(leaf_oid)
        moves = [
            move
            for root_oid, leaves in now.items()
            if root_oid in self._seen
            for move in _moves(source, root_oid, self._seen[root_oid], leaves, attached)
        ]
        self._seen = now
        return tuple(moves)


def _moves(
    source: Session,
    root_oid: int,
    before: dict[int, TableName],
    now: dict[int, TableName],
    attached: Collection[int],
) -> list[PartitionMove]:
    gone = [PartitionMove(root_oid, name, Move.GONE) for oid, name in before.items() if oid not in now]
    return gone + [
        PartitionMove(root_oid, name, Move.ATTACHED_WITH_ROWS)
        for oid, name in now.items()
        if oid not in before and oid in attached and _has_rows(source, oid)
    ]


def _has_rows(source: Session, oid: int) -> bool:
    """Whether a table takes up room; yes when somebody locks it, because nobody locks an empty one long."""
    try:
        with source.transaction():
            source.execute(_LOCK_TIMEOUT)
            row = source.execute(_HAS_ROWS, (oid,)).fetchone()
    except psycopg.errors.LockNotAvailable:
        return True
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the partitions") from None
    return row == (True,)
