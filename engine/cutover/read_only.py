"""Keeps a database's other users from writing, and lets them again (PostgreSQL 20.11.1).

``default_transaction_read_only`` set for a database, or for a role in it, counts for sessions that begin
afterwards. It is no lock: who wants to can set it off for a session, as we do for our own. So it stops
applications that do not know better, and the fence still proves that nothing was written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from engine.connection.explain import explain, message_of
from engine.connection.session import Session
from engine.cutover.outcome import ReadOnlyOffer, ReadOnlyRecord, SourceSession
from engine.errors import EngineError, Failure, Side
from engine.roles.planned import RoleFilter
from engine.script.planned import Outcome, StatementResult

_SETTING = "default_transaction_read_only"

_ROLES = """
select r.rolname::text
  from pg_catalog.pg_roles r
 where r.rolcanlogin and not r.rolsuper and r.rolname <> current_user
   and pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
 order by r.rolname
"""

_SET_BEFORE = """
select coalesce(r.rolname::text, ''), pg_catalog.split_part(one.text, '=', 2)
  from pg_catalog.pg_db_role_setting s
  join pg_catalog.pg_database d on d.oid = s.setdatabase and d.datname = pg_catalog.current_database()
  left join pg_catalog.pg_roles r on r.oid = s.setrole
 cross join pg_catalog.unnest(s.setconfig) as one(text)
 where pg_catalog.split_part(one.text, '=', 1) = 'default_transaction_read_only'
"""

_SESSIONS = """
select a.pid, a.backend_start, coalesce(a.usename::text, ''), a.application_name,
       coalesce(a.client_addr::text, 'local'), coalesce(a.state, 'unknown')
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.pid <> pg_catalog.pg_backend_pid()
   and a.backend_type = 'client backend'
   and not pg_catalog.starts_with(a.application_name, 'livesync-tui')
 order by a.backend_start
"""

_TERMINATE = """
select pg_catalog.pg_terminate_backend(a.pid)
  from pg_catalog.pg_stat_activity a
 where a.pid = %s and a.backend_start = %s
"""


def offer_read_only(source: Session, chosen: RoleFilter) -> ReadOnlyOffer:
    """What can be set on the source, what is set there now, and whose sessions are open.

    Args:
        source: A session on the source.
        chosen: Roles that are not the application's.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        row = source.execute("select pg_catalog.current_database()::text").fetchone()
        roles = [str(name) for (name,) in source.execute(_ROLES).fetchall()]
        before = {str(role): str(value) for role, value in source.execute(_SET_BEFORE).fetchall()}
        sessions = source.execute(_SESSIONS).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking who could write") from None
    assert row is not None
    database = str(row[0])
    return ReadOnlyOffer(
        ReadOnlyRecord(database, "", before.get("")),
        tuple(ReadOnlyRecord(database, role, before.get(role)) for role in roles if not chosen.reason(role)),
        tuple(_session(each) for each in sessions),
    )


def _session(row: tuple[object, ...]) -> SourceSession:
    pid, started_at, role, application, address, state = row
    words = " · ".join(str(part) for part in (f"pid {pid}", role, application, address, state) if part)
    return SourceSession(int(str(pid)), started_at, str(role), words)  # type: ignore[arg-type]


def set_statements(records: Sequence[ReadOnlyRecord]) -> tuple[str, ...]:
    """What makes new sessions read-only."""
    return tuple(_statement(replace(record, before="on")) for record in records)


def undo_statements(records: Sequence[ReadOnlyRecord]) -> tuple[str, ...]:
    """What brings back what was set before."""
    return tuple(_statement(record) for record in records)


def _statement(record: ReadOnlyRecord) -> str:
    where = sql.SQL("database {}").format(sql.Identifier(record.database))
    if record.role:
        where = sql.SQL("role {} in {}").format(sql.Identifier(record.role), where)
    if record.before is None:
        statement = sql.SQL("alter {} reset {}").format(where, sql.SQL(_SETTING))
    else:
        statement = sql.SQL("alter {} set {} = {}").format(where, sql.SQL(_SETTING), record.before)
    return statement.as_string()


def run_together(source: Session, statements: Sequence[str]) -> tuple[StatementResult, ...]:
    """Run statements in one transaction: all of them count, or none.

    Args:
        source: A session in autocommit mode.
        statements: As :func:`set_statements` or :func:`undo_statements` made them.

    Returns:
        All as applied, or all as refused with the server's words.

    Raises:
        EngineError: The connection was lost; whether they count is not known.
    """
    began = time.monotonic()
    try:
        with source.transaction():
            for statement in statements:
                source.execute(statement.encode())
    except psycopg.Error as error:
        if source.closed:
            raise explain(error, Side.SOURCE, "changing who may write") from None
        said, code = message_of(error), error.sqlstate or ""
        return tuple(StatementResult(one, one, Outcome.REFUSED, said, code) for one in statements)
    seconds = (time.monotonic() - began) / max(1, len(statements))
    return tuple(StatementResult(one, one, Outcome.APPLIED, seconds=seconds) for one in statements)


def terminate(source: Session, sessions: Sequence[SourceSession]) -> int:
    """End sessions; one that has ended since, and whose pid is another's now, is left alone.

    Returns:
        How many were told to end.

    Raises:
        EngineError: The source refused.
    """
    ended = 0
    try:
        for session in sessions:
            ended += len(source.execute(_TERMINATE, (session.pid, session.started_at)).fetchall())
    except psycopg.Error as error:
        failure = explain(error, Side.SOURCE, "ending sessions").failure
        hint = "Stop these programs themselves, or use a role with pg_signal_backend"
        raise EngineError(replace(failure, hint=failure.hint or hint)) from None
    return ended


def refusal(results: Sequence[StatementResult]) -> Failure | None:
    """Why nothing was set, or None."""
    refused = next((result for result in results if result.outcome is Outcome.REFUSED), None)
    if refused is None:
        return None
    return Failure(
        "The source refused the read-only setting",
        refused.said,
        "It takes the database's owner, or for a role somebody who may alter it; or stop the writers",
        refused.sqlstate or None,
        Side.SOURCE,
    )
