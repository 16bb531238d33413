"""Tells one start of a server from the next, so that a restart can be followed from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from engine.checks.report import ServerStart
from engine.connection.deadline import deadline
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.errors import Side

_START = """
select pg_catalog.pg_postmaster_start_time() as started_at,
       array(select s.name from pg_catalog.pg_settings s where s.pending_restart order by s.name)
           as pending_settings
"""

_ANSWER_SECONDS = 10.0
"""A server that is about to stop may take the connection and never answer."""


@dataclass(frozen=True, slots=True)
class _StartRow:
    started_at: datetime
    pending_settings: list[str]


def read_start(session: Session, side: Side) -> ServerStart:
    """When the server was started, and which settings wait for the next start (PostgreSQL 9.27, 53.25).

    Raises:
        EngineError: The server could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_StartRow)) as cursor:
            row = cursor.execute(_START).fetchone()
    except psycopg.Error as error:
        raise explain(error, side, "asking when it was started") from None
    assert row is not None  # A query without FROM has one row.
    return ServerStart(row.started_at, tuple(row.pending_settings))


def look_for_restart(endpoint: Endpoint) -> ServerStart:
    """The same over a session of its own.

    Raises:
        ConnectionFailedError: It cannot be reached, as while it restarts.
        EngineError: It could not be read.
    """
    with open_session(endpoint, "restart") as session, deadline(_ANSWER_SECONDS, session):
        return read_start(session, endpoint.side)
