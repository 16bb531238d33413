"""Ends a session whose server has stopped answering without closing the connection.

TCP notices a dead peer (``engine.connection.session`` sets keepalives and tcp_user_timeout), but not a
balancer or a tunnel in between that acknowledges everything and passes nothing on. A blocked libpq call
cannot be interrupted from another thread; shutting its socket down makes it fail like any lost connection.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import pq

_POLL_SECONDS = 0.5


@dataclass(eq=False, slots=True)
class _Guard:
    connections: tuple[pq.abc.PGconn, ...]
    due_at: float


class _Watch:
    """One thread for all guards of the process, started with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._guards: set[_Guard] = set()
        self._thread: threading.Thread | None = None

    def add(self, guard: _Guard) -> None:
        with self._changed:
            self._guards.add(guard)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="livesync-deadline", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, guard: _Guard) -> None:
        # Under the lock, so that no socket is shut down whose number belongs to another one by now.
        with self._changed:
            self._guards.discard(guard)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._guards:
                    self._changed.wait()
                now = time.monotonic()
                for guard in [guard for guard in self._guards if guard.due_at <= now]:
                    self._guards.discard(guard)
                    for connection in guard.connections:
                        shut_down(connection)
            time.sleep(_POLL_SECONDS)


_watch = _Watch()


@contextmanager
def deadline(seconds: float, *sessions: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    """Shut the sessions' connections down when the block lasts longer than ``seconds``."""
    guard = _Guard(tuple(session.pgconn for session in sessions), time.monotonic() + seconds)
    _watch.add(guard)
    try:
        yield
    finally:
        _watch.remove(guard)


def shut_down(connection: pq.abc.PGconn) -> None:
    """Make every call on ``connection`` fail as after a lost connection; the caller keeps it from closing."""
    try:
        copy = socket.socket(fileno=os.dup(connection.socket))
    except (psycopg.Error, OSError):
        return  # It is closed already.
    with copy:
        try:
            copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # The other end was quicker.
