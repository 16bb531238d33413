"""Schemas that a publication takes whole (FOR TABLES IN SCHEMA, PostgreSQL 15 and later)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import TableName, quote_identifier
from engine.catalog.user_schema import in_user_schemas
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side

_SCHEMAS_PUBLISHED_SINCE = 150000

# Partitions are in with their root, when that is in one of the schemas.
_SCHEMA_TABLES = """
select n.nspname::text as schema, c.relname::text as table,
       exists (
           select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
              and d.deptype = 'e') as of_extension
  from pg_catalog.pg_namespace n
  left join pg_catalog.pg_class c
    on c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relpersistence = 'p'
   and not exists (
       select from pg_catalog.pg_partition_ancestors(c.oid) as ancestor(relid)
         join pg_catalog.pg_class above on above.oid = ancestor.relid
         join pg_catalog.pg_namespace of_above on of_above.oid = above.relnamespace
        where above.oid <> c.oid and of_above.nspname = any (%(schemas)s::text[]))
 where n.nspname = any (%(schemas)s::text[]) and {user_schema}
 order by n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True)
class _SchemaTable:
    schema: str
    table: str | None
    of_extension: bool


def schemas_chosen_whole(session: Session, tables: Collection[TableName]) -> tuple[str, ...]:
    """Schemas of which every table is chosen, so that they may be published whole.

    Args:
        session: On the source.
        tables: What was chosen; a partitioned table stands for all its partitions.

    Returns:
        By name; none where the server cannot publish schemas. Whether the session's role may is not looked
        at (:mod:`engine.catalog.publication_rights`).

    Raises:
        EngineError: The source could not be read.
    """
    if session.info.server_version < _SCHEMAS_PUBLISHED_SINCE:
        return ()
    chosen = frozenset(tables)
    schemas = {name.schema for name in chosen}
    rows = _read(session, schemas)
    not_whole = {
        row.schema
        for row in rows
        if row.of_extension or row.table is None or TableName(row.schema, row.table) not in chosen
    }
    return tuple(sorted({row.schema for row in rows} - not_whole))


def _read(session: Session, schemas: Collection[str]) -> list[_SchemaTable]:
    try:
        with session.cursor(row_factory=class_row(_SchemaTable)) as cursor:
            query = in_user_schemas(_SCHEMA_TABLES).encode()
            return cursor.execute(query, {"schemas": list(schemas)}).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the schemas") from None


def tables_of_schemas(session: Session, schemas: Collection[str]) -> tuple[TableName, ...]:
    """What is published with whole schemas now; partitions that come with their root are not named.

    Raises:
        BlockedError: The server cannot publish schemas, one does not exist or is not the user's, or an
            extension has tables in it.
        EngineError: The source could not be read.
    """
    if not schemas:
        return ()
    if session.info.server_version < _SCHEMAS_PUBLISHED_SINCE:
        raise _blocked(
            "Whole schemas can be published since PostgreSQL 15, and the source is older",
            "Choose the tables of the schema instead",
        )
    rows = _read(session, schemas)
    missing = sorted(set(schemas) - {row.schema for row in rows})
    if missing:
        raise _blocked(
            f"The source has no schema {quote_identifier(missing[0])} of yours",
            "Read the table list again and choose from it",
        )
    extension = [
        TableName(row.schema, row.table) for row in rows if row.of_extension and row.table is not None
    ]
    if extension:
        raise _blocked(
            f"The schema {quote_identifier(extension[0].schema)} cannot be published whole: {extension[0]} "
            "is an extension's, and the target's own extension fills it",
            "Choose the tables of the schema instead",
        )
    return tuple(TableName(row.schema, row.table) for row in rows if row.table is not None)


def _blocked(title: str, hint: str) -> BlockedError:
    return BlockedError(Failure(title, hint=hint, side=Side.SOURCE, retry=Retry.MANUAL))
