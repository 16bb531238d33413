"""Tells views that differ from those that a newer PostgreSQL only writes in other words.

PostgreSQL 16 leaves out the table's name where there is only one table, 14 writes EXTRACT where older ones
wrote date_part. So the target is asked how it would word the source's query: a temporary view of it is made
in a transaction that is rolled back, and read. Nothing has to be known about the words of any version.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from engine.connection.explain import explain, is_connection_loss
from engine.connection.session import Session
from engine.errors import Side
from engine.schema.archive import ArchiveEntry

_DEFINITIONS = """
select asked.catalog, asked.oid, pg_catalog.pg_get_viewdef(c.oid)
  from unnest(%s::int8[], %s::int8[]) as asked(catalog, oid)
  left join pg_catalog.pg_rewrite r
    on asked.catalog = 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid::int8 and r.oid::int8 = asked.oid
  join pg_catalog.pg_class c
    on c.oid::int8 = case when r.oid is not null then r.ev_class::int8
                          when asked.catalog = 'pg_catalog.pg_class'::pg_catalog.regclass::oid::int8
                          then asked.oid end
 where c.relkind in ('v', 'm')
"""

_PROBE = sql.SQL("""
create temporary view livesync_tui_probe as {};
select pg_catalog.pg_get_viewdef('pg_temp.livesync_tui_probe'::pg_catalog.regclass)
""")


def reword(source: Session, target: Session, entries: Sequence[ArchiveEntry]) -> dict[int, str]:
    """Statements of the source's views as the target would write them.

    Args:
        source: Where the entries come from.
        target: With no transaction open; it is left as it was.
        entries: Of the source; those that are no views are left out.

    Returns:
        By the entry's id. Without views whose query the target refuses, or when it allows no temporary views.

    Raises:
        EngineError: A server could not be read, or was lost.
    """
    reworded: dict[int, str] = {}
    try:
        rows = source.execute(
            _DEFINITIONS, ([entry.catalog_oid for entry in entries], [entry.oid for entry in entries])
        ).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its views") from None
    definitions = {(int(str(catalog)), int(str(oid))): str(query).rstrip(";") for catalog, oid, query in rows}
    for entry in entries:
        query = definitions.get((entry.catalog_oid, entry.oid))
        if query is None:
            continue
        words = word_query(target, query)
        if words is not None:
            reworded[entry.id] = entry.statement.replace(query, words)
    return reworded


def word_query(target: Session, query: str) -> str | None:
    """A view's query as the target would write it; None when it refuses the query.

    Args:
        target: With no transaction open; it is left as it was.
        query: Of a view of the source, without a semicolon.

    Raises:
        ConnectionFailedError: The target was lost.
    """
    try:
        target.execute("begin")
        # The definition is SQL of a server, as pg_dump's script of it is.
        cursor = target.execute(_PROBE.format(sql.SQL(query)))
        cursor.nextset()
        row = cursor.fetchone()
        return None if row is None else str(row[0]).rstrip(";")
    except psycopg.Error as error:
        if is_connection_loss(error):
            raise explain(error, Side.TARGET, "comparing views") from None
        return None
    finally:
        if not target.closed:
            target.rollback()
