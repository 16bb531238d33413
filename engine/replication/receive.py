"""Reads one replication stream and answers the source in time, on a thread that never waits for the target.

The source ends a connection that stays silent for ``wal_sender_timeout``. Writing may wait for a lock or a
slow disk on the target for longer than that, so it happens on another thread
(:mod:`engine.replication.write_thread`); while that is behind, nothing is read, but the source is answered.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from engine.errors import ConnectionFailedError, Failure, Retry, Side
from engine.replication.stream import ReplicationConnection

_STATUS_INTERVAL_SECONDS = 1.0
"""Well below the smallest wal_sender_timeout seen in the field (5 s)."""

_CONFIRM_INTERVAL_SECONDS = 0.1
"""How soon a new durable position is passed on."""

_SILENCE_SECONDS = 900.0
"""A source that says nothing for so long, although it is asked, is no longer at the other end. It may well be
silent for minutes while it decodes a large transaction that is not ours (PostgreSQL before 16 sends nothing
meanwhile), and giving up then would have it decode that again from the start."""


class Waker:
    """Ends a wait for the source from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)

    def fileno(self) -> int:
        """For ``select``."""
        return self._read_end

    def wake(self) -> None:
        """End the wait there is, or the next one; safe from any thread at any time."""
        # Under the lock, so that nothing is written to a number that belongs to another file by now.
        with self._lock:
            if self._is_closed:
                return
            try:
                os.write(self._write_end, b"\0")
            except BlockingIOError:
                pass  # It is awake.

    def clear(self) -> None:
        """Forget earlier calls of :meth:`wake`."""
        try:
            while os.read(self._read_end, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give the file descriptors back."""
        with self._lock:
            self._is_closed = True
            os.close(self._read_end)
            os.close(self._write_end)


class StreamReader:
    """Owns a started :class:`ReplicationConnection`; every method belongs to one thread."""

    def __init__(self, connection: ReplicationConnection, flushed_lsn: int, waker: Waker) -> None:
        self._connection = connection
        self._waker = waker
        self._flushed_lsn = flushed_lsn
        self._told_lsn = -1
        self._reply_wanted = False
        self._answered_at = 0.0
        self._heard_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """For how long the source has said nothing, although it was asked; safe from any thread."""
        return time.monotonic() - self._heard_at

    def read(self, take: Callable[[bytes], bool], timeout_seconds: float) -> int:
        """Pass what has arrived to ``take``, message by message.

        Args:
            take: Gets each CopyData message; True ends reading for now.
            timeout_seconds: How long to wait when nothing has arrived; waking ends that.

        Returns:
            How many messages there were.

        Raises:
            EngineError: The connection broke, or the source reported an error or is silent.
            StreamEndedError: The source ended the stream.
        """
        self.answer()
        messages = self._connection.read_burst(take)
        if messages == 0 and timeout_seconds > 0:
            source, waker = self._connection.fileno(), self._waker.fileno()
            readable, _, _ = select.select([source, waker], [], [], timeout_seconds)
            if waker in readable:
                self._waker.clear()
            if source in readable:
                messages = self._connection.read_burst(take)
        if messages:
            self._heard_at = time.monotonic()
        return messages

    def answer(self, *, at_once: bool = False) -> None:
        """Tell the source where we are if that is due.

        Raises:
            EngineError: The connection broke, or the source has been silent for too long.
        """
        now = time.monotonic()
        silence = now - self._heard_at
        if silence > _SILENCE_SECONDS:
            raise _silent(silence)
        age = now - self._answered_at
        if not (
            at_once
            or self._reply_wanted
            or age >= _STATUS_INTERVAL_SECONDS
            or (self._flushed_lsn != self._told_lsn and age >= _CONFIRM_INTERVAL_SECONDS)
        ):
            return
        reply_wanted = self._reply_wanted or silence > _SILENCE_SECONDS / 2
        self._reply_wanted = False
        self._connection.send_status(self._flushed_lsn, reply_requested=reply_wanted)
        self._answered_at, self._told_lsn = now, self._flushed_lsn

    def rest(self, timeout_seconds: float) -> None:
        """Answer the source without reading; wait to be woken.

        Raises:
            EngineError: The connection broke.
        """
        # The silence is ours: the way to the target is full.
        self._heard_at = time.monotonic()
        self.answer()
        if timeout_seconds > 0 and select.select([self._waker], [], [], timeout_seconds)[0]:
            self._waker.clear()

    def confirm(self, flushed_lsn: int) -> None:
        """Everything before ``flushed_lsn`` is durable on the target."""
        self._flushed_lsn = flushed_lsn

    def ask_position(self) -> None:
        """Have the source say now how far it has sent."""
        self._reply_wanted = True

    def close(self) -> None:
        """Send the last confirmed position and end the connection."""
        try:
            self.answer(at_once=True)
        except ConnectionFailedError:
            pass  # The next start tells the source; nothing depends on this one.
        finally:
            self._connection.close()


def _silent(seconds: float) -> ConnectionFailedError:
    return ConnectionFailedError(
        Failure(
            title=f"The source has sent nothing for {seconds:.0f} s although it was asked",
            hint="Nothing to do if the network between here and there comes back",
            side=Side.SOURCE,
            retry=Retry.TIMED,
        )
    )
