"""What the target must allow, and whether rows are already where the copy will put its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.checks.tables import counted, named
from engine.checks.trial import check_replica_role
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_FACTS = """
select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create'),
       -- Our own sessions set it off; what psql and the application get is the value reset goes back to.
       (select s.reset_val = 'on' from pg_catalog.pg_settings s
         where s.name = 'default_transaction_read_only')
"""

_PRESENT = """
select n.nspname, c.relname,
       c.relkind = 'p' or pg_catalog.pg_relation_size(c.oid) > 0 as may_hold_rows,
       pg_catalog.has_schema_privilege(n.oid, 'usage')
       and pg_catalog.has_table_privilege(c.oid, 'select')
       and not pg_catalog.row_security_active(c.oid) as is_readable
  from unnest(%s::text[], %s::text[]) as wanted (schema_name, table_name)
  join pg_catalog.pg_namespace n on n.nspname = wanted.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.table_name
 where c.relkind in ('r', 'p')
 order by n.nspname, c.relname
"""

_HAS_STATE = """
select exists (
       select from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = '_ts_live_sync' and c.relname = 'subscription_rel'
          and pg_catalog.has_schema_privilege(n.oid, 'usage')
          and pg_catalog.has_table_privilege(c.oid, 'select'))
"""

_OURS = "select target_schema, target_table from _ts_live_sync.subscription_rel"

_TABLES_A_QUERY = 100


def check_target(server: Server) -> tuple[Finding, ...]:
    """What the target must allow, in the order it is shown.

    Raises:
        EngineError: The target could not be read.
    """
    try:
        row = server.session.execute(_FACTS).fetchone()
        assert row is not None  # A query without FROM has one row.
        may_create, is_read_only = row
        return (
            _create_schema(server, bool(may_create)),
            _read_only(server, bool(is_read_only)),
            check_replica_role(server),
        )
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading its settings") from None


def _create_schema(server: Server, may_create: bool) -> Finding:
    if may_create:
        return ok("create_schema", Side.TARGET, f"role {server.role} may create schemas")
    return trouble(
        "create_schema",
        Side.TARGET,
        Verdict.BLOCKS,
        f"role {server.role} may not create schemas",
        "The position that makes resuming exact is kept in a schema of its own, _ts_live_sync",
        remedy=server.advisor.right("create_in_database"),
    )


def _read_only(server: Server, is_read_only: bool) -> Finding:
    if not is_read_only:
        return ok("default_transaction_read_only", Side.TARGET, "off")
    database = server.advisor.database
    return trouble(
        "default_transaction_read_only",
        Side.TARGET,
        Verdict.BLOCKS,
        "on",
        "Restoring the schema, and the application after the cutover, could not write; "
        "providers set it when the disk is full",
        remedy=server.advisor.own_sql(
            f"alter database {database} set default_transaction_read_only = off"
        ).with_words("After making room on the disk, if that was the reason"),
    )


def check_target_empty(server: Server, source_tables: Iterable[TableName]) -> Finding:
    """Whether tables of the source's names hold rows on the target already.

    Args:
        server: The target.
        source_tables: Those of the source.

    Raises:
        EngineError: The target could not be read.
    """
    check, session = "target_empty", server.session
    names = list(source_tables)
    try:
        ours = _tables_of_migrations(session)
        rows = session.execute(
            _PRESENT, ([name.schema for name in names], [name.table for name in names])
        ).fetchall()
        present = [TableName(str(schema), str(table)) for schema, table, _, _ in rows]
        candidates = [
            name
            for name, (_, _, may_hold_rows, is_readable) in zip(present, rows, strict=True)
            if may_hold_rows and is_readable and name not in ours
        ]
        filled = _with_rows(session, candidates)
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for rows in its tables") from None
    if not filled:
        found = (
            f"{counted(len(present), 'table')} of the source's names, without rows" if present else "empty"
        )
        return ok(check, Side.TARGET, found)
    return trouble(
        check,
        Side.TARGET,
        Verdict.WARNING,
        f"{counted(len(filled), 'table')} of the source's names hold rows: {named(filled)}",
        "The copy adds the source's rows to those, or is stopped by a unique key",
        remedy=by_hand("Empty them on the target (truncate), when nothing there is worth keeping"),
    )


def _tables_of_migrations(session: Session) -> set[TableName]:
    """Tables that hold rows because we copied them."""
    if session.execute(_HAS_STATE).fetchone() != (True,):
        return set()
    return {TableName(str(schema), str(table)) for schema, table in session.execute(_OURS).fetchall()}


def _with_rows(session: Session, names: Sequence[TableName]) -> list[TableName]:
    found: list[TableName] = []
    for first in range(0, len(names), _TABLES_A_QUERY):
        some = names[first : first + _TABLES_A_QUERY]
        looks = sql.SQL(", ").join(
            sql.SQL("exists (select from {})").format(sql.Identifier(name.schema, name.table))
            for name in some
        )
        row = session.execute(sql.SQL("select {}").format(looks)).fetchone()
        assert row is not None  # A query without FROM has one row.
        found.extend(name for name, has_rows in zip(some, row, strict=True) if has_rows)
    return found
