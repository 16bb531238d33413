"""Cuts a large table into ranges that several sessions copy at a time, all in one snapshot.

Since PostgreSQL 14 a range is a stretch of heap pages, which the source reads without looking at any other
(TID range scan). Before, it is a stretch of a primary key that is one integer. Neither depends on statistics,
and the first and last range are open: whatever the snapshot shows is in exactly one of them.

Heap pages stand still only while nobody rewrites the table. So the caller holds its lock from before the
sizes are read until the last range is copied (:func:`engine.replication.copy.hold_rows`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.replication.publication import PublishedTable

RANGE_BYTES = 64 * 1024 * 1024
"""Smallest range, TOAST included: half a second's work, so that no worker is alone for long at the end of a
table, and still a hundred times what a statement and a commit of its own cost."""

_TID_RANGE_SCAN_VERSION = 140000

# pg_partition_tree() reads the partitions of this moment, as a query through the root would.
_RELATIONS = """
select n.nspname, c.relname,
       c.relkind = 'r' and pg_catalog.has_table_privilege(c.oid, 'select')
           and not pg_catalog.row_security_active(c.oid),
       am.amname = 'heap',
       pg_catalog.pg_table_size(c.oid),
       pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8,
       (select a.attname
          from pg_catalog.pg_index i
          join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
         where i.indrelid = c.oid and i.indisprimary and i.indnkeyatts = 1
           and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
  from (select relid::oid from pg_catalog.pg_partition_tree(%(oid)s::oid::regclass) where isleaf
        union select %(oid)s::oid) as part(oid)
  join pg_catalog.pg_class c on c.oid = part.oid and c.relkind <> 'p'
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_am am on am.oid = c.relam
 order by part.oid
"""


@dataclass(frozen=True, slots=True)
class CopyRange:
    """Some of a published table's rows."""

    relation: TableName
    """The table itself, or the partition that holds them."""

    condition: sql.Composable | None
    """Which of the relation's rows; None for all."""

    size_bytes: int
    """About how much that is on the source's disk."""


def is_worth_cutting(table: PublishedTable) -> bool:
    """Whether a table is large enough for two ranges; its exact size is not known yet."""
    return table.size_bytes >= 2 * RANGE_BYTES


def plan_ranges(source: Session, table: PublishedTable, *, server_version: int) -> tuple[CopyRange, ...]:
    """Cut a table into ranges, largest first; one range when it cannot or need not be cut.

    Args:
        source: In the snapshot's transaction, holding the table's lock.
        table: A table, or a partitioned one: each of its partitions is cut by itself.
        server_version: Of the source, in ``server_version_num`` form.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        relations = source.execute(_RELATIONS, {"oid": table.oid}).fetchall()
        ranges: list[CopyRange] = []
        for schema, name, is_readable, is_heap, size_bytes, pages, key in relations:
            if not is_readable:
                # Only through the root: a partition of another kind, or one that we may not read ourselves.
                return ()
            relation, size, count = TableName(str(schema), str(name)), int(str(size_bytes)), int(str(pages))
            if is_heap and server_version >= _TID_RANGE_SCAN_VERSION:
                conditions = _page_ranges(count, min(count, size // RANGE_BYTES))
            elif key is not None and size >= 2 * RANGE_BYTES:
                conditions = _key_ranges(source, relation, str(key), size // RANGE_BYTES)
            else:
                conditions = [None]
            ranges += [CopyRange(relation, condition, size // len(conditions)) for condition in conditions]
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, f"reading the size of {table.name}") from None
    return tuple(sorted(ranges, key=lambda part: -part.size_bytes))


def _page_ranges(pages: int, count: int) -> list[sql.Composable | None]:
    borders = [pages * number // count for number in range(1, count)]
    return _between(sql.SQL("ctid"), [sql.SQL(f"'({page},0)'::pg_catalog.tid") for page in borders])


def _key_ranges(source: Session, relation: TableName, key: str, count: int) -> list[sql.Composable | None]:
    column = sql.Identifier(key)
    row = source.execute(
        sql.SQL("select pg_catalog.min({0}), pg_catalog.max({0}) from only {1}").format(
            column, sql.Identifier(relation.schema, relation.table)
        )
    ).fetchone()
    assert row is not None
    if row[0] is None:
        return [None]
    first, last = int(str(row[0])), int(str(row[1]))
    borders = {first + (last - first + 1) * number // count for number in range(1, count)} - {first}
    return _between(column, [sql.SQL(f"({border})::pg_catalog.int8") for border in sorted(borders)])


def _between(value: sql.Composable, borders: Iterable[sql.Composable]) -> list[sql.Composable | None]:
    """Conditions that each value of ``value`` meets one of, open at both ends."""
    conditions: list[sql.Composable | None] = []
    above: sql.Composable | None = None
    for border in borders:
        below = sql.SQL("{} < {}").format(value, border)
        conditions.append(below if above is None else sql.SQL("{} and {}").format(above, below))
        above = sql.SQL("{} >= {}").format(value, border)
    conditions.append(above)
    return conditions
