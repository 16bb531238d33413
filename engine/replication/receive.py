"""Reads the replication stream on a thread of its own, so that the source is answered in time.

The source ends a connection that stays silent for ``wal_sender_timeout``. Applying may wait for a lock or
a slow disk on the target for longer than that; this thread never waits for the target. What it has read
waits in a queue bounded by bytes; when that is full it stops reading but goes on answering.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from engine.errors import ConnectionFailedError, EngineError, Failure, Retry, Side
from engine.replication.protocol import Keepalive, XLogData
from engine.replication.stream import ReplicationConnection, StreamEndedError

QUEUE_BYTES = 32 * 1024 * 1024
"""Enough to keep the target busy through a pause of the source, small beside the process."""

_MESSAGE_OVERHEAD_BYTES = 150
"""What a queued message costs beside its payload."""

_STATUS_INTERVAL_SECONDS = 1.0
"""Well below the smallest wal_sender_timeout seen in the field (5 s)."""

_CONFIRM_INTERVAL_SECONDS = 0.1
"""How soon a new durable position is passed on."""

_READ_TIMEOUT_SECONDS = 0.05

_SILENCE_SECONDS = 900.0
"""A source that says nothing for so long, although it is asked, is no longer at the other end. It may well be
silent for minutes while it decodes a large transaction that is not ours (PostgreSQL before 16 sends nothing
meanwhile), and giving up then would have it decode that again from the start."""


class StreamReader:
    """Owns a started :class:`ReplicationConnection`; hands messages over in order."""

    def __init__(self, connection: ReplicationConnection, flushed_lsn: int) -> None:
        self._connection = connection
        self._flushed_lsn = flushed_lsn
        self._queue: deque[XLogData | Keepalive] = deque()
        self._queued_bytes = 0
        self._condition = threading.Condition()
        self._stopping = False
        self._woken = False
        self._reply_wanted = False
        self._answer_due = False
        self._heard_at = 0.0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="livesync-receive", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def take(self, timeout_seconds: float) -> list[XLogData | Keepalive]:
        """All messages read since the last call, oldest first; empty when none came in time.

        Raises:
            EngineError: The stream failed; everything read before was handed over.
            StreamEndedError: The source ended the stream; likewise.
        """
        with self._condition:
            if not self._queue and self._failure is None and not self._woken:
                self._condition.wait(timeout_seconds)
            self._woken = False
            if not self._queue and self._failure is not None:
                raise self._failure
            messages = list(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
            self._condition.notify_all()
            return messages

    def wake(self) -> None:
        """Have :meth:`take` return now, with whatever there is; safe from any thread."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def confirm(self, flushed_lsn: int) -> None:
        """Everything before ``flushed_lsn`` is durable on the target."""
        self._flushed_lsn = flushed_lsn

    def ask_position(self) -> None:
        """Have the source say now how far it has sent."""
        self._reply_wanted = True

    def close(self) -> None:
        """Send the last confirmed position, end the connection and the thread."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        last_status = 0.0
        last_flushed = -1
        self._heard_at = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                silence = now - self._heard_at
                if silence > _SILENCE_SECONDS and not self._stopping:
                    raise _silent(silence)
                flushed = self._flushed_lsn
                age = now - last_status
                if (
                    self._stopping
                    or self._reply_wanted
                    or self._answer_due
                    or age >= _STATUS_INTERVAL_SECONDS
                    or (flushed != last_flushed and age >= _CONFIRM_INTERVAL_SECONDS)
                ):
                    reply_wanted = self._reply_wanted or silence > _SILENCE_SECONDS / 2
                    self._reply_wanted = False
                    self._answer_due = False
                    self._connection.send_status(flushed, reply_requested=reply_wanted)
                    last_status, last_flushed = now, flushed
                if self._stopping:
                    return
                self._read_some()
        except (EngineError, StreamEndedError) as error:
            self._fail(error)
        except Exception as error:  # A bug must reach the owner, not die with this thread.
            self._fail(error)

    def _read_some(self) -> None:
        """Read what has arrived; wait briefly when nothing has or the queue is full."""
        with self._condition:
            if self._queued_bytes >= QUEUE_BYTES:
                self._condition.wait(_READ_TIMEOUT_SECONDS)
                self._heard_at = time.monotonic()  # It is we who do not listen.
                return
        messages: list[XLogData | Keepalive] = []
        size = 0
        message = self._connection.read(_READ_TIMEOUT_SECONDS)
        while message is not None:
            messages.append(message)
            if isinstance(message, XLogData):
                size += len(message.payload)
            elif message.reply_requested:
                self._answer_due = True
            size += _MESSAGE_OVERHEAD_BYTES
            if len(messages) >= 1000 or size >= 1024 * 1024:
                break
            message = self._connection.read(0)
        if messages:
            self._heard_at = time.monotonic()
            with self._condition:
                self._queue.extend(messages)
                self._queued_bytes += size
                self._condition.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._condition:
            self._failure = error
            self._condition.notify_all()


def _silent(seconds: float) -> ConnectionFailedError:
    return ConnectionFailedError(
        Failure(
            title=f"The source has sent nothing for {seconds:.0f} s although it was asked",
            hint="Nothing to do if the network between here and there comes back",
            side=Side.SOURCE,
            retry=Retry.TIMED,
        )
    )
