"""Opens sessions and makes sure each behaves the same, whatever the server, role or database says.

A role may carry a statement_timeout, a database a DateStyle, and a pooler may swallow a SET. So every
session sets everything that changes the text of a value or can end a long statement, and reads it back
in a second round trip from the same backend (design §6.11).
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from engine.connection.deadline import deadline
from engine.connection.endpoint import CONNECT_TIMEOUT_SECONDS, Endpoint
from engine.connection.explain import explain
from engine.errors import BlockedError, Failure, Retry, Side

Session = psycopg.Connection[tuple[object, ...]]
"""A connection in autocommit mode whose settings were checked."""

_SETTINGS: tuple[tuple[int, str, str], ...] = (
    (0, "statement_timeout", "0"),
    (0, "lock_timeout", "0"),
    (0, "idle_in_transaction_session_timeout", "0"),
    (140000, "idle_session_timeout", "0"),
    (170000, "transaction_timeout", "0"),
    # COPY under row-level security returns fewer rows without a word; off makes it an error.
    (0, "row_security", "off"),
    (0, "search_path", ""),
    (0, "client_encoding", "UTF8"),
    (0, "DateStyle", "ISO, YMD"),
    (0, "IntervalStyle", "postgres"),
    (0, "TimeZone", "UTC"),
    # Shortest text that reads back to the same float.
    (0, "extra_float_digits", "1"),
    (0, "bytea_output", "hex"),
    (0, "lc_monetary", "C"),
    (0, "standard_conforming_strings", "on"),
    # off reads the NULL of an array as the text "NULL".
    (0, "array_nulls", "on"),
    # What servers write of names is compared between them.
    (0, "quote_all_identifiers", "off"),
    (0, "xmloption", "content"),
    (0, "default_transaction_read_only", "off"),
    (0, "default_transaction_isolation", "read committed"),
    # What is committed is durable before the source hears "flushed".
    (0, "synchronous_commit", "on"),
    # A server that lost us gives up our locks and slots within a minute, not in two hours.
    (0, "tcp_keepalives_idle", "20"),
    (0, "tcp_keepalives_interval", "10"),
    (0, "tcp_keepalives_count", "4"),
)

_SETTINGS_SECONDS = 30.0
"""How long a new session may take over its settings; connect_timeout no longer counts then."""

_KEEPALIVE = {
    # A half-open connection is noticed within a minute instead of two hours.
    "keepalives": "1",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "4",
    "tcp_user_timeout": "60000",
}


def connection_keywords(endpoint: Endpoint, purpose: str) -> dict[str, str]:
    """libpq keywords for one connection: the endpoint's own win over our defaults.

    Args:
        endpoint: Where to connect.
        purpose: Shown in pg_stat_activity as ``livesync-tui <purpose>``.
    """
    return {
        "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
        **_KEEPALIVE,
        **endpoint.keywords(),
        "application_name": f"livesync-tui {purpose}",
        "client_encoding": "UTF8",
    }


def settings_for(server_version: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings of a session on a server of ``server_version`` (``server_version_num`` form)."""
    settings = {name: value for since, name, value in _SETTINGS if server_version >= since}
    settings.update(extra or {})
    return settings


def settings_statement(settings: Mapping[str, str]) -> sql.Composed:
    """One statement that applies ``settings`` for the session and returns the backend's pid first."""
    calls = sql.SQL(", ").join(
        sql.SQL("pg_catalog.set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
        for name, value in settings.items()
    )
    return sql.SQL("select pg_catalog.pg_backend_pid(), {}").format(calls)


def read_back_statement(settings: Mapping[str, str]) -> sql.Composed:
    """One statement that returns the backend's pid and each setting's value now."""
    calls = sql.SQL(", ").join(
        sql.SQL("pg_catalog.current_setting({})").format(sql.Literal(name)) for name in settings
    )
    return sql.SQL("select pg_catalog.pg_backend_pid(), {}").format(calls)


def open_session(
    endpoint: Endpoint,
    purpose: str,
    *,
    extra: Mapping[str, str] | None = None,
    replication: bool = False,
) -> Session:
    """Connect in autocommit mode with checked settings.

    Args:
        endpoint: Where to connect.
        purpose: Short, shown in ``pg_stat_activity.application_name``.
        extra: Further settings, such as ``session_replication_role``.
        replication: Open a walsender for logical replication (PostgreSQL 54.4, ``replication=database``),
            which takes replication commands and plain SQL without parameters.

    Raises:
        ConnectionFailedError: Unreachable, refused, or lost while setting up.
        BlockedError: A pooler answered, or a setting was refused.
    """
    keywords = connection_keywords(endpoint, purpose)
    if replication:
        keywords["replication"] = "database"
    try:
        session: Session = psycopg.connect(
            **keywords,  # type: ignore[arg-type]
            autocommit=True,
        )
    except psycopg.Error as error:
        raise explain(error, endpoint.side, "connecting") from None
    # Identical statements run millions of times elsewhere; here a cached plan may hold a dropped table.
    session.prepare_threshold = None
    try:
        _apply_settings(session, endpoint.side, settings_for(session.info.server_version, extra))
    except BaseException:
        session.close()
        raise
    return session


def _apply_settings(session: Session, side: Side, settings: Mapping[str, str]) -> None:
    try:
        with deadline(_SETTINGS_SECONDS, session):
            applied = session.execute(settings_statement(settings)).fetchone()
            read_back = session.execute(read_back_statement(settings)).fetchone()
    except psycopg.Error as error:
        raise explain(error, side, "setting up a session") from None
    check_settings(side, applied, read_back)


def check_settings(
    side: Side, applied: tuple[object, ...] | None, read_back: tuple[object, ...] | None
) -> None:
    """Compare what SET returned with what a second round trip found.

    Raises:
        BlockedError: They differ: something between here and the server is not one session.
    """
    if applied is not None and applied == read_back:
        return
    raise BlockedError(
        Failure(
            title=f"The {side.value} does not keep session settings; a pooler seems to be in between",
            hint="Use the direct (not pooled) host and port of the database",
            side=side,
            retry=Retry.NEVER,
        )
    )
