"""Tells which chunks were changed under a copy in a way that its snapshot does not hide.

Whether a chunk's rows are in columns is read from the catalog as it is now, not as it was at the snapshot; so
a copy during which that changed may have read rows twice, too young, or not at all (facts, "Snapshot-copy
hazards"). Each such change writes the chunk's row in TimescaleDB's catalog anew, which its ``xmin`` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

# The chunk is named by an oid since 2.29, by two names before. Constraints tell chunks that were merged or
# split, of which the one that stays keeps its row.
_STAMPS = """
with chunk as (
    select pg_catalog.to_regclass(coalesce(
               pg_catalog.to_jsonb(k) ->> 'relid',
               pg_catalog.format('%%I.%%I', pg_catalog.to_jsonb(k) ->> 'schema_name',
                                 pg_catalog.to_jsonb(k) ->> 'table_name'))) as oid,
           k.xmin::text as version, k.status
      from _timescaledb_catalog.chunk k
)
select c.oid::int8, c.version, c.status,
       coalesce((select pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(o.oid), ' ' order by o.conname)
                   from pg_catalog.pg_constraint o
                  where o.conrelid = c.oid and o.contype = 'c'), '') as bounds
  from chunk c
  join pg_catalog.pg_inherits i on i.inhrelid = c.oid
 where %(oids)s::oid[] is null or c.oid = any (%(oids)s::oid[])
"""


@dataclass(frozen=True, slots=True)
class ChunkStamp:
    """A chunk as it was at one moment."""

    oid: int
    version: str
    """``xmin`` of its row in the catalog."""

    status: int
    """Bits: 1 compressed, 2 unordered, 4 frozen, 8 partial."""

    bounds: str
    """Its check constraints."""


def read_stamps(session: Session, oids: tuple[int, ...] | None = None) -> dict[int, ChunkStamp]:
    """All chunks there are at this moment, or some of them.

    Args:
        session: On the source, in a transaction of its own: the one that copies has an old snapshot.
            To be called before the snapshot is taken, and after the last row was read.
        oids: Of the chunks; None for all.

    Raises:
        EngineError: They could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(ChunkStamp)) as cursor:
            rows = cursor.execute(_STAMPS.encode(), {"oids": None if oids is None else list(oids)}).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the status of chunks") from None
    return {row.oid: row for row in rows}


def changed_chunks(before: Mapping[int, ChunkStamp], after: Mapping[int, ChunkStamp]) -> frozenset[int]:
    """Chunks whose copy cannot be trusted: compressed, decompressed, merged, split, or gone.

    Args:
        before: Read before the snapshot was taken.
        after: Read after the copy ended.

    Returns:
        Oids of chunks of ``before``. One that is also in ``after`` has to be copied again; of one that is
        not, the rows are gone, or in a chunk that changed too or is new.
    """
    return frozenset(oid for oid, stamp in before.items() if after.get(oid) != stamp)
