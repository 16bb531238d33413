"""Looks tables up in the catalogs."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_MISSING = """
select wanted.schema, wanted.name
  from unnest(%s::text[], %s::text[]) as wanted(schema, name)
 where not exists (
       select from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = wanted.schema and c.relname = wanted.name and c.relkind in ('r', 'p'))
"""


def missing_tables(target: Session, names: Sequence[TableName]) -> tuple[TableName, ...]:
    """Which of ``names`` the target does not have.

    Raises:
        EngineError: The target could not be read.
    """
    schemas, tables = [name.schema for name in names], [name.table for name in names]
    try:
        rows = target.execute(_MISSING, (schemas, tables)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for tables") from None
    return tuple(TableName(str(schema), str(table)) for schema, table in rows)
