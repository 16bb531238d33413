"""Idle sessions that a sync worker keeps from one table for its next.

Opening a session costs both sides far more than a small table's copy: a process, a password's hash, a dozen
settings, cold catalog caches. Kept is only what ended in order, outside of a transaction; what it left
behind (temporary tables, prepared statements) goes away before it is used again. A worker without a table
keeps none.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from engine.connection.deadline import deadline
from engine.connection.session import Session
from engine.errors import Side

_RENEW_SECONDS = 10.0
"""How long an idle server may take to answer before a new session is opened instead."""

_RENEW = "discard temp; deallocate all; select pg_catalog.set_config('application_name', {}, false)"

_Key = tuple[Side, frozenset[tuple[str, str]]]


class KeptSessions:
    """At most one idle session for each server and kind; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[_Key, Session] = {}

    def take(self, side: Side, purpose: str, extra: Mapping[str, str] | None = None) -> Session | None:
        """An idle session, made as good as new, or None.

        Args:
            side: Its server.
            purpose: What it is for from now on, as of :func:`~engine.connection.session.open_session`.
            extra: The further settings that it was opened with.
        """
        with self._lock:
            session = self._idle.pop(_key(side, extra), None)
        if session is None:
            return None
        try:
            with deadline(_RENEW_SECONDS, session):
                session.execute(sql.SQL(_RENEW).format(sql.Literal(f"livesync-tui {purpose}")))
        except psycopg.Error:
            session.close()
            return None
        return session

    def keep(self, session: Session, side: Side, extra: Mapping[str, str] | None = None) -> bool:
        """Take over a session that nobody uses any more; False when it is not one to keep."""
        if session.closed or session.info.transaction_status is not TransactionStatus.IDLE:
            return False
        with self._lock:
            return self._idle.setdefault(_key(side, extra), session) is session

    def close(self) -> None:
        """Close all that are idle now."""
        with self._lock:
            sessions, self._idle = list(self._idle.values()), {}
        for session in sessions:
            session.close()


def _key(side: Side, extra: Mapping[str, str] | None) -> _Key:
    return side, frozenset((extra or {}).items())
