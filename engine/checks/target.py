"""What the target must offer: settings are tried where trying is harmless, read where it is not."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.checks.finding import Finding, Verdict
from engine.connection.explain import explain, message_of
from engine.connection.session import Session
from engine.errors import Side

MINIMUM_TARGET_VERSION = 150000

_FACTS = """
select pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) as version,
       current_user::text as role,
       pg_catalog.quote_ident(current_user) as quoted_role,
       pg_catalog.quote_ident(pg_catalog.current_database()) as quoted_database,
       pg_catalog.pg_is_in_recovery() as is_standby,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create') as may_create_schema,
       -- Our own sessions set it off; what psql and the application get is the value reset goes back to.
       (select s.reset_val = 'on' from pg_catalog.pg_settings s
         where s.name = 'default_transaction_read_only') as is_read_only
"""


@dataclass(frozen=True, slots=True)
class _Facts:
    version: str
    role: str
    quoted_role: str
    quoted_database: str
    is_standby: bool
    may_create_schema: bool
    is_read_only: bool


def check_target(session: Session) -> tuple[Finding, ...]:
    """All checks of the target, in the order they are shown.

    Args:
        session: On the target, in autocommit mode.

    Raises:
        EngineError: The target could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_Facts)) as cursor:
            facts = cursor.execute(_FACTS).fetchone()
        assert facts is not None  # A query without FROM has one row.
        return (
            _version(session.info.server_version, facts),
            _standby(facts),
            _create_schema(facts),
            _read_only(facts),
            _replica_role(session, facts),
        )
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading its settings") from None


def _finding(check: str, verdict: Verdict, found: str, why: str = "", fix: str = "") -> Finding:
    return Finding(check, Side.TARGET, verdict, found, why, fix)


def _version(version_number: int, facts: _Facts) -> Finding:
    found = f"PostgreSQL {facts.version}"
    if version_number >= MINIMUM_TARGET_VERSION:
        return _finding("version", Verdict.OK, found)
    return _finding(
        "version",
        Verdict.BLOCKS,
        found,
        "The target must be PostgreSQL 15 or newer",
        "Create the target with PostgreSQL 15 or newer",
    )


def _standby(facts: _Facts) -> Finding:
    if not facts.is_standby:
        return _finding("standby", Verdict.OK, "a primary")
    return _finding(
        "standby",
        Verdict.BLOCKS,
        "a standby (read replica)",
        "Nothing can be written to a standby",
        "Use the connection string of the primary as --target",
    )


def _create_schema(facts: _Facts) -> Finding:
    if facts.may_create_schema:
        return _finding("create_schema", Verdict.OK, f"role {facts.role} may create schemas")
    return _finding(
        "create_schema",
        Verdict.BLOCKS,
        f"role {facts.role} may not create schemas",
        "The position that makes resuming exact is kept in a schema of its own, _ts_live_sync",
        f"grant create on database {facts.quoted_database} to {facts.quoted_role};",
    )


def _read_only(facts: _Facts) -> Finding:
    if not facts.is_read_only:
        return _finding("default_transaction_read_only", Verdict.OK, "off")
    return _finding(
        "default_transaction_read_only",
        Verdict.BLOCKS,
        "on",
        "Restoring the schema, and the application after the cutover, could not write; "
        "providers set it when the disk is full",
        f"alter database {facts.quoted_database} set default_transaction_read_only = off; "
        "after making room on the disk, if that was the reason",
    )


def _replica_role(session: Session, facts: _Facts) -> Finding:
    """Try the setting for real: which roles may set it differs between providers."""
    session.execute("begin")
    try:
        session.execute("set local session_replication_role = replica")
    except psycopg.Error as error:
        if session.closed:
            raise
        return _finding(
            "session_replication_role",
            Verdict.BLOCKS,
            f"role {facts.role} may not set it: {message_of(error)}",
            "Triggers and foreign keys have already done their work on the source; "
            "on the target they must stay quiet while rows arrive",
            f"grant set on parameter session_replication_role to {facts.quoted_role};",
        )
    finally:
        if not session.closed:
            session.execute("rollback")
    return _finding("session_replication_role", Verdict.OK, f"role {facts.role} may set it to replica")
