"""The sessions of one side, each of which reads one thing at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

Value = TypeVar("Value")

_SAVEPOINT = "savepoint reading"

_RELEASE = "rollback to savepoint reading"
"""Ends what failed, and gives up the locks of what did not: nobody waits for the end of the verification."""

_CANCEL_TIMEOUT_SECONDS = 5.0


class StoppedError(Exception):
    """Another reading failed, or the verification was interrupted."""


class ScanPool:
    """Runs readings on a side's sessions, in the order they are handed in; leaving the block ends them."""

    def __init__(self, side: Side, sessions: Sequence[Session]) -> None:
        """Take the sessions over.

        Args:
            side: Whose they are.
            sessions: Each in a transaction.

        Raises:
            EngineError: One was lost.
        """
        try:
            for session in sessions:
                session.execute(_SAVEPOINT)
        except psycopg.Error as error:
            raise explain(error, side, "beginning to compare") from None
        self._sessions = sessions
        self._free: queue.SimpleQueue[Session] = queue.SimpleQueue()
        for session in sessions:
            self._free.put(session)
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(len(sessions), thread_name_prefix=f"verify-{side.value}")

    def __enter__(self) -> ScanPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()
        self._threads.shutdown(wait=True)

    def submit(self, read: Callable[[Session], Value]) -> Future[Value]:
        """Have ``read`` called with a session that nobody else uses meanwhile."""
        return self._threads.submit(self._run, read)

    def _run(self, read: Callable[[Session], Value]) -> Value:
        if self._stopped.is_set():
            raise StoppedError
        session = self._free.get()
        try:
            return read(session)
        finally:
            try:
                session.execute(_RELEASE)
            except psycopg.Error:
                pass  # It is lost, which its next user is told.
            self._free.put(session)

    def stop(self) -> None:
        """End what is being read and read nothing more; safe from any thread."""
        self._stopped.set()
        for session in self._sessions:
            try:
                session.cancel_safe(timeout=_CANCEL_TIMEOUT_SECONDS)
            except psycopg.Error:
                pass  # Then the statement runs to its end, or the session is gone.
