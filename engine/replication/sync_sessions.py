"""The sessions of one table's sync: opened here, so that none which a server keeps outlives its use.

A link may acknowledge everything and pass nothing on. Then our end is closed and forgotten while the server's
end waits for us in an open transaction: its locks stop the next attempt, its snapshot stops vacuum. So the
backend of every session that was closed is ended once more over the next session to the same side. What ends
in order may be kept for the worker's next table instead (:mod:`engine.replication.kept_sessions`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from engine.connection.deadline import deadline, shut_down
from engine.connection.endpoint import Endpoint
from engine.connection.session import Session, open_session
from engine.errors import Side
from engine.replication.kept_sessions import KeptSessions
from engine.replication.waits import end_remainder

_END_SECONDS = 30.0
"""How long a server may take to end what an earlier session left."""


class SyncSessions:
    """Outlives the attempts at one table; its workers open sessions, another thread looks after them."""

    def __init__(self, kept: KeptSessions | None = None) -> None:
        """Prepare.

        Args:
            kept: Where idle sessions come from and go to; None to open and close each.
        """
        self.kept = kept
        self._lock = threading.Lock()
        self._open: dict[Session, tuple[Side, int]] = {}
        self._left: dict[Side, set[int]] = {side: set() for side in Side}
        self._moved_at = time.monotonic()

    @contextmanager
    def open(
        self, endpoint: Endpoint, purpose: str, *, extra: Mapping[str, str] | None = None
    ) -> Iterator[Session]:
        """A session for the block, as :func:`~engine.connection.session.open_session` opens it.

        When the block ends it is kept, or closed as it is, without a rollback: in mid-copy it takes no
        command.

        Raises:
            EngineError: The server cannot be reached or refused.
        """
        self.moved()
        kept, side = self.kept, endpoint.side
        session = None if kept is None else kept.take(side, purpose, extra)
        if session is None:
            session = open_session(endpoint, purpose, extra=extra)
        with self.watched(session, side):
            self._end_left(session, side)
            yield session
            if kept is not None:
                self._keep(session, side, kept, extra)

    @contextmanager
    def watched(self, session: Session, side: Side) -> Iterator[None]:
        """Look after a session that was opened elsewhere, and close it when the block ends."""
        with self._lock:
            # Noted now: libpq does not tell the pid of a connection that is broken.
            self._open[session] = (side, session.info.backend_pid)
        self.moved()
        try:
            yield
        finally:
            self._close(session)

    def close(self, side: Side) -> None:
        """Give up the sessions to one side before their blocks end."""
        with self._lock:
            sessions = [session for session, (at, _) in self._open.items() if at is side]
        for session in sessions:
            self._close(session)

    def moved(self) -> None:
        """Something was read, written or answered."""
        self._moved_at = time.monotonic()

    @property
    def still_seconds(self) -> float:
        """For how long nothing has moved; safe from any thread."""
        return time.monotonic() - self._moved_at

    def pids(self, side: Side) -> list[int]:
        """Backends of the open sessions to one side; safe from any thread."""
        with self._lock:
            return [pid for at, pid in self._open.values() if at is side]

    def cut_off(self) -> None:
        """End the connections, because no server works on them; safe from any thread."""
        with self._lock:
            for session in self._open:
                shut_down(session.pgconn)

    def _keep(
        self, session: Session, side: Side, kept: KeptSessions, extra: Mapping[str, str] | None
    ) -> None:
        with self._lock:
            if session in self._open and kept.keep(session, side, extra):
                del self._open[session]

    def _close(self, session: Session) -> None:
        # Under the lock, so that no socket is shut down whose number belongs to another one by now.
        with self._lock:
            known = self._open.pop(session, None)
            if known is None:
                return  # Given up before.
            side, pid = known
            self._left[side].add(pid)
            session.close()

    def _end_left(self, session: Session, side: Side) -> None:
        with deadline(_END_SECONDS, session):
            for pid in tuple(self._left[side]):
                end_remainder(session, pid, side)
                self._left[side].discard(pid)
