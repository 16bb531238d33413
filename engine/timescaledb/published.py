"""Published tables that are hypertables or chunks: whose rows they hold, which chunks nobody publishes yet.

A hypertable's rows are in its chunks, and the source sends their changes under the chunks' names and oids. A
chunk that is made later is in no publication unless somebody adds it (or, since 2.25, the setting
``timescaledb.enable_chunk_auto_publication`` is on), also where its hypertable is in a schema that is
published whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side

_HAS_TIMESCALEDB = """
select pg_catalog.to_regclass('_timescaledb_catalog.hypertable') is not null
"""

# The constraints TimescaleDB gives a chunk by itself say which rows are its own; the user's are inherited.
_ROWS_CONDITION = r"""
       (select pg_catalog.string_agg('(' || pg_catalog.pg_get_expr(k.conbin, k.conrelid) || ')', ' and '
                                     order by k.conname)
          from pg_catalog.pg_constraint k
         where k.conrelid = c.oid and k.contype = 'c' and k.conislocal and k.coninhcount = 0
           and k.conname ~ '^constraint_\d+$') as rows_condition
"""

_HYPERTABLE = """
  from _timescaledb_catalog.hypertable t
  join pg_catalog.pg_namespace hn on hn.nspname = t.schema_name
  join pg_catalog.pg_class h on h.relnamespace = hn.oid and h.relname = t.table_name
"""

_PARTS = """
select c.oid::int8, h.oid::int8 as hypertable_oid, hn.nspname::text as schema, h.relname::text as table,
{rows_condition}
{hypertable}
 cross join lateral (
       select h.oid
        union all
       select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = h.oid) c
 where c.oid = any (%s::oid[])
   -- Up to 2.28 compressed rows have hypertables too, without dimensions.
   and exists (select from _timescaledb_catalog.dimension d where d.hypertable_id = t.id)
"""

_PUBLISHED_BEFORE_15 = """
with published as (
    select p.oid as publication, p.pubname::text, g.relid
      from pg_catalog.pg_publication p,
           lateral pg_catalog.pg_get_publication_tables(p.pubname::text) as g(relid)
     where p.pubname = any (%s)
)
"""

_PUBLISHED_SINCE_15 = """
with published as (
    select p.oid as publication, p.pubname::text, g.relid
      from pg_catalog.pg_publication p,
           lateral pg_catalog.pg_get_publication_tables(p.pubname::text) as g
     where p.pubname = any (%s)
)
"""

_CHUNKS = """
select c.oid::int8, h.oid::int8 as hypertable_oid, cn.nspname::text as schema, c.relname::text as table,
       array (select r.pubname
                from published r
               where r.relid = h.oid
                 and not exists (select from published x
                                  where x.publication = r.publication and x.relid = c.oid)
               order by 1) as lacking,
{rows_condition}
{hypertable}
  join pg_catalog.pg_inherits i on i.inhparent = h.oid
  join pg_catalog.pg_class c on c.oid = i.inhrelid and c.relkind = 'r'
  join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace
 where exists (select from published p where p.relid = h.oid)
   and exists (select from _timescaledb_catalog.dimension d where d.hypertable_id = t.id)
 order by 3, 4
"""

_LOCK_TIMEOUT = "set local lock_timeout = '1s'"
"""Waiting for a chunk's lock makes the application wait behind; the next look tries again."""


@dataclass(frozen=True, slots=True)
class HypertablePart:
    """What a published table is to a hypertable: the hypertable itself, or a chunk of it."""

    hypertable_oid: int
    hypertable: TableName
    rows_condition: str | None
    """Of a chunk: SQL over the hypertable's columns that is true for exactly its rows, if there is one."""


@dataclass(frozen=True, slots=True)
class PublishedChunk:
    """A chunk of a published hypertable, as it is now."""

    oid: int
    hypertable_oid: int
    name: TableName
    rows_condition: str | None
    lacking: tuple[str, ...]
    """Publications that publish the hypertable and not this chunk."""


@dataclass(frozen=True, slots=True)
class _PartRow:
    oid: int
    hypertable_oid: int
    schema: str
    table: str
    rows_condition: str | None


@dataclass(frozen=True, slots=True)
class _ChunkRow:
    oid: int
    hypertable_oid: int
    schema: str
    table: str
    lacking: list[str]
    rows_condition: str | None


def _filled(query: str) -> str:
    return query.replace("{rows_condition}", _ROWS_CONDITION).replace("{hypertable}", _HYPERTABLE)


def has_timescaledb(session: Session, side: Side) -> bool:
    """Whether the database has the extension.

    Raises:
        EngineError: It could not be read.
    """
    try:
        return session.execute(_HAS_TIMESCALEDB).fetchone() == (True,)
    except psycopg.Error as error:
        raise explain(error, side, "looking for TimescaleDB") from None


def read_parts(source: Session, oids: Collection[int]) -> dict[int, HypertablePart]:
    """Which of ``oids`` are hypertables or chunks, and of what.

    Args:
        source: On a database with the extension.
        oids: Of tables.

    Raises:
        psycopg.Error: They could not be read.
    """
    with source.cursor(row_factory=class_row(_PartRow)) as cursor:
        rows = cursor.execute(_filled(_PARTS).encode(), (list(oids),)).fetchall()
    return {
        row.oid: HypertablePart(row.hypertable_oid, TableName(row.schema, row.table), row.rows_condition)
        for row in rows
    }


def read_published_chunks(source: Session, publications: Sequence[str]) -> tuple[PublishedChunk, ...]:
    """The chunks there are now of the hypertables that ``publications`` publish, by name.

    Args:
        source: On a database with the extension.
        publications: Names of publications.

    Raises:
        EngineError: They could not be read.
    """
    head = _PUBLISHED_SINCE_15 if source.info.server_version >= 150000 else _PUBLISHED_BEFORE_15
    try:
        with source.cursor(row_factory=class_row(_ChunkRow)) as cursor:
            rows = cursor.execute((head + _filled(_CHUNKS)).encode(), (list(publications),)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the chunks of its hypertables") from None
    return tuple(
        PublishedChunk(
            row.oid,
            row.hypertable_oid,
            TableName(row.schema, row.table),
            row.rows_condition,
            tuple(row.lacking),
        )
        for row in rows
    )


def publish_chunk(source: Session, chunk: PublishedChunk) -> bool:
    """Add a chunk to the publications that lack it.

    Returns:
        False when it is gone, or locked for now.

    Raises:
        BlockedError: The role may not.
        EngineError: The source failed.
    """
    statements = [
        sql.SQL("alter publication {} add table only {}").format(
            sql.Identifier(publication), sql.Identifier(chunk.name.schema, chunk.name.table)
        )
        for publication in chunk.lacking
    ]
    try:
        with source.transaction():
            source.execute(_LOCK_TIMEOUT)
            for statement in statements:
                source.execute(statement)
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.DuplicateObject,
    ):
        return False
    except psycopg.errors.InsufficientPrivilege as error:
        raise BlockedError(
            Failure(
                title=f"The chunk {chunk.name} of a published hypertable is in no publication, and the role "
                "may not add it",
                detail=(error.diag.message_primary or "").strip(),
                hint="Connect as the owner of the publication and of the hypertable, or run on the source: "
                + "; ".join(statement.as_string(source) for statement in statements),
                side=Side.SOURCE,
                retry=Retry.MANUAL,
            )
        ) from None
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, f"publishing the chunk {chunk.name}") from None
    return True
