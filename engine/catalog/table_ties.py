"""Reads which tables refer to others, and which inherit from others."""

from __future__ import annotations

import psycopg
from psycopg.rows import class_row

from engine.catalog.schema_tables import TableTie
from engine.catalog.table import TableName
from engine.catalog.user_schema import in_user_schemas
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

# A partition's own copy of its root's foreign key has a parent; of a key to a partitioned table, PostgreSQL
# keeps one more for each partition, which has one too. Partitions stand for their root.
_TIES = """
with tie as (
    select k.conrelid as oid, k.confrelid as other, k.conname::text as constraint
      from pg_catalog.pg_constraint k
     where k.contype = 'f' and k.conparentid = 0
    union all
    select i.inhrelid, i.inhparent, null
      from pg_catalog.pg_inherits i
      join pg_catalog.pg_class child on child.oid = i.inhrelid
     where not child.relispartition and child.relkind = 'r'
)
select n.nspname::text as schema, c.relname::text as table,
       of_other.nspname::text as other_schema, other.relname::text as other_table, tie.constraint
  from tie
  join pg_catalog.pg_class c on c.oid = coalesce(pg_catalog.pg_partition_root(tie.oid)::oid, tie.oid)
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class other
    on other.oid = coalesce(pg_catalog.pg_partition_root(tie.other)::oid, tie.other)
  join pg_catalog.pg_namespace of_other on of_other.oid = other.relnamespace
 where c.oid <> other.oid and {user_schema}
 group by 1, 2, 3, 4, 5
 order by 1, 2, 3, 4, 5
"""


class _Tie:
    """One row of :data:`_TIES`."""

    __slots__ = ("tie",)

    def __init__(
        self, schema: str, table: str, other_schema: str, other_table: str, constraint: str | None
    ) -> None:
        self.tie = TableTie(TableName(schema, table), TableName(other_schema, other_table), constraint)


def read_ties(session: Session) -> tuple[TableTie, ...]:
    """All foreign keys and inheritance among the tables of user schemas, by name.

    Args:
        session: On the source.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_Tie)) as cursor:
            rows = cursor.execute(in_user_schemas(_TIES).encode()).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading foreign keys") from None
    return tuple(row.tie for row in rows)
