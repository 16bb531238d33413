"""Reads which relation of the source is a chunk, and of which hypertable.

By inheritance, which all releases have; a chunk that was dropped since is in no catalog, so whoever follows
changes keeps what was read (facts: the stream still has its name and oid).
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.timescaledb.chunk import Chunk

_CHUNKS = """
select c.oid::int8, cn.nspname::text as schema, c.relname::text as table,
       hn.nspname::text as hypertable_schema, h.relname::text as hypertable_table,
       h.oid::int8 as hypertable_oid,
       coalesce(k.status & 1 = 1, false) as is_compressed,
       coalesce(k.osm_chunk, false) or c.relkind = 'f' as is_tiered
  from _timescaledb_catalog.hypertable t
  join pg_catalog.pg_namespace hn on hn.nspname = t.schema_name
  join pg_catalog.pg_class h on h.relnamespace = hn.oid and h.relname = t.table_name
  join pg_catalog.pg_inherits i on i.inhparent = h.oid
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace
  left join _timescaledb_catalog.chunk k on {is_chunk}
 -- Up to 2.28 compressed rows have hypertables too, without dimensions.
 where exists (select from _timescaledb_catalog.dimension d where d.hypertable_id = t.id)
 order by 4, 5, 1
"""

_BY_OID = "k.relid = c.oid"
_BY_NAME = "k.schema_name = cn.nspname and k.table_name = c.relname"

_HAS_OID = """
select exists (select from pg_catalog.pg_attribute a
                where a.attrelid = '_timescaledb_catalog.chunk'::pg_catalog.regclass
                  and a.attname = 'relid' and not a.attisdropped)
"""


@dataclass(frozen=True, slots=True)
class _ChunkRow:
    oid: int
    schema: str
    table: str
    hypertable_schema: str
    hypertable_table: str
    hypertable_oid: int
    is_compressed: bool
    is_tiered: bool


def read_chunks(session: Session, side: Side) -> dict[int, Chunk]:
    """All chunks there are now, by oid; those of continuous aggregates too.

    Args:
        session: On a database with the extension.
        side: Which one it is, for messages.

    Raises:
        EngineError: They could not be read.
    """
    try:
        # Since 2.29.
        has_oid = session.execute(_HAS_OID).fetchone() == (True,)
        query = _CHUNKS.replace("{is_chunk}", _BY_OID if has_oid else _BY_NAME)
        with session.cursor(row_factory=class_row(_ChunkRow)) as cursor:
            rows = cursor.execute(query.encode()).fetchall()
    except psycopg.Error as error:
        raise explain(error, side, "reading the chunks of its hypertables") from None
    return {
        row.oid: Chunk(
            oid=row.oid,
            name=TableName(row.schema, row.table),
            hypertable=TableName(row.hypertable_schema, row.hypertable_table),
            hypertable_oid=row.hypertable_oid,
            is_compressed=row.is_compressed,
            is_tiered=row.is_tiered,
        )
        for row in rows
    }
