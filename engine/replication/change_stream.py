"""The changes of one slot on their way to the target: reading, folding and writing overlap.

Two threads. The owner's thread reads the walsender, answers it and folds changes into batches
(:mod:`engine.replication.receive`, :mod:`engine.replication.gather`); a thread of the stream's own writes
them (:mod:`engine.replication.write_thread`). While a batch is written the next one grows, so batches are as
large as the load asks for: a lone commit is written at once, a backlog in thousands of changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError

from engine.catalog.table import TableName
from engine.connection.session import Session
from engine.replication.apply import Applier
from engine.replication.batch import CommitPoint
from engine.replication.change_statement import ChangeStatements
from engine.replication.gather import Gatherer
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.protocol import Relation
from engine.replication.receive import StreamReader, Waker
from engine.replication.stream import ReplicationConnection
from engine.replication.write_thread import WriteThread, Written

BATCH_CHANGES = 20_000
"""Changes after which a batch is not allowed to grow: past that the cost of a statement no longer shows."""

BATCH_BYTES = 8 * 1024 * 1024
"""The same by size. One batch is written, one waits and one grows; folded, each takes several times that."""

_MOST_WAITING = 2
"""Batches submitted and not written: one being written, one to go on with at once."""

_BUSY_CHANGES = 100
"""A batch of so many changes was no lone commit: more is to be expected."""

_LINGER_SECONDS = 0.02
"""How long a batch then waits for more, although the target could take it."""

_ANSWER_SECONDS = 0.2
"""How often the source is answered while we wait for the target."""


class ChangeStream:
    """A started slot and the target session that its changes are written with."""

    def __init__(
        self,
        connection: ReplicationConnection,
        session: Session,
        position: int,
        *,
        target_of: Callable[[int, int], TableName | None],
        commit_at: Callable[[int], CommitPoint],
        sharers: Callable[[int], Collection[int]],
        should_stop: Callable[[], bool],
        tolerates_missing_rows: bool,
    ) -> None:
        """Start the writing thread.

        Args:
            connection: A walsender that streams the slot from ``position``; closed with this.
            session: In replica role, used by nobody else until :meth:`close`.
            position: Everything before it is durable on the target.
            target_of: See :class:`~engine.replication.gather.Gatherer`.
            commit_at: What ends a target transaction that reaches a position.
            sharers: See :class:`~engine.replication.apply.Applier`.
            should_stop: Looked at while waiting for the target.
            tolerates_missing_rows: See :class:`~engine.replication.apply.Applier`.
        """
        self._commit_at = commit_at
        self._should_stop = should_stop
        self._waker = Waker()
        self._reader = StreamReader(connection, position, self._waker)
        self._gatherer = Gatherer(position, target_of=target_of, describe=self._describe)
        self._writer = WriteThread(
            Applier(
                session,
                sharers=sharers,
                should_stop=should_stop,
                tolerates_missing_rows=tolerates_missing_rows,
            ),
            self._waker.wake,
        )
        self._gathering_since = 0.0
        self._last_batch_changes = 0
        self.durable = position
        """Everything before it is durable on the target."""

        self._writer.start()

    def stop_writing(self) -> None:
        """Wait for the batch at hand; the session may be used by others then, and nothing submitted."""
        self._writer.close()

    def close(self) -> None:
        """Wait for the batch at hand; drop what was not written; end the connection to the source."""
        self._writer.close()
        self._reader.close()
        self._waker.close()

    @property
    def position(self) -> int:
        """Everything before it was gathered, and is written or going to be."""
        return self._gatherer.position

    @property
    def in_source_transaction(self) -> bool:
        """Whether the stream is between a Begin and its Commit."""
        return self._gatherer.in_source_transaction

    @property
    def is_settled(self) -> bool:
        """Whether everything gathered so far, and the position, are durable."""
        return (
            not self._gatherer.changes
            and not self._writer.waiting
            and self.durable >= self._gatherer.position
        )

    @property
    def writing_seconds(self) -> float:
        """How long the batch at hand has been worked on; safe from any thread."""
        return self._writer.busy_seconds

    @property
    def silent_seconds(self) -> float:
        """For how long the source has said nothing, although it was asked; safe from any thread."""
        return self._reader.silent_seconds

    def wake(self) -> None:
        """Have :meth:`pump` return now; safe from any thread at any time."""
        self._waker.wake()

    def forget(self, source_oid: int) -> None:
        """Ask ``target_of`` again before the next change of a table."""
        self._gatherer.forget(source_oid)

    def stop_before(self, lsn: int | None) -> None:
        """Gather no transaction whose commit record starts at ``lsn`` or later; None lifts that.

        :attr:`position` becomes ``lsn``, not more, once every earlier transaction was gathered; the caller
        calls :meth:`pump` no more then.
        """
        self._gatherer.stop_before(lsn)

    def answer(self, timeout_seconds: float = 0.0) -> None:
        """Answer the source without reading, while waiting for something else.

        Args:
            timeout_seconds: How long to wait to be woken.

        Raises:
            EngineError: The connection broke.
        """
        self._reader.rest(timeout_seconds)

    def ask_position(self) -> None:
        """Have the source say now how far it has sent."""
        self._reader.ask_position()

    def pump(self, timeout_seconds: float, *, wants_boundary: bool) -> list[Written]:
        """Read what has arrived; have full parts of a large source transaction written.

        Args:
            timeout_seconds: How long to wait when there is nothing to do.
            wants_boundary: Return at the next boundary between source transactions.

        Returns:
            What became durable meanwhile.

        Raises:
            TableStoppedError: A change cannot be applied.
            PositionLostError: Another engine took over.
            EngineError: One of the servers failed.
            StreamEndedError: The source ended the stream.
            ProtocolError: The stream is not what it should be.
        """
        gatherer = self._gatherer
        if self._is_full:
            if self.in_source_transaction and self._writer.waiting < _MOST_WAITING:
                self._writer.submit(gatherer.take_batch(None))
            elif self._writer.waiting >= _MOST_WAITING:
                self._reader.rest(_ANSWER_SECONDS)
                return self._collect()
        gatherer.stops_at_commit = wants_boundary or self._is_full or self.is_due
        had_changes = bool(gatherer.changes)
        patience = self._patience(timeout_seconds)
        if not self._reader.read(gatherer.take, patience) and patience == timeout_seconds:
            # On a quiet source nothing comes by itself that would tell how far we are.
            self._reader.ask_position()
        if gatherer.wants_answer:
            gatherer.wants_answer = False
            self._reader.answer(at_once=True)
        if gatherer.changes and not had_changes:
            self._gathering_since = time.monotonic()
        return self._collect()

    @property
    def is_due(self) -> bool:
        """Whether what was gathered should be committed at the next boundary."""
        if self._gatherer.has_fence and self.is_idle:
            return True  # Somebody waits for it, and counts the seconds.
        if not self._gatherer.changes:
            return False
        if self._writer.waiting:
            return self._is_full and self._writer.waiting < _MOST_WAITING
        return self._is_full or self._linger_seconds() <= 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written."""
        return self._writer.waiting == 0

    def submit(self) -> None:
        """Have everything gathered written and committed; only between source transactions."""
        assert not self.in_source_transaction
        self._last_batch_changes = self._gatherer.changes
        self._writer.submit(self._gatherer.take_batch(self._commit_at(self.position)))

    def drain(self) -> list[Written]:
        """Submit what was gathered and wait until all is durable; only between source transactions.

        Raises:
            StoppedWaitingError: Asked to stop while the target does not answer.
            TableStoppedError, PositionLostError, EngineError: As :meth:`pump`.
        """
        written: list[Written] = []
        if not self.is_settled:
            self.submit()
        while self._writer.waiting:
            self._reader.rest(_ANSWER_SECONDS)
            written += self._collect()
        return written + self._collect()

    @property
    def _is_full(self) -> bool:
        return self._gatherer.changes >= BATCH_CHANGES or self._gatherer.size_bytes >= BATCH_BYTES

    def _linger_seconds(self) -> float:
        if self._last_batch_changes < _BUSY_CHANGES:
            return 0.0
        return self._gathering_since + _LINGER_SECONDS - time.monotonic()

    def _patience(self, timeout_seconds: float) -> float:
        """How long to wait for the source; being able to write more ends the wait by waking."""
        if self._gatherer.changes and not self._writer.waiting and not self.in_source_transaction:
            return max(0.0, min(timeout_seconds, self._linger_seconds()))
        return timeout_seconds

    def _collect(self) -> list[Written]:
        written = self._writer.take_written()
        if written:
            self.durable = written[-1].commit.position
            self._reader.confirm(self.durable)
        return written

    def _describe(self, relation: Relation, target: TableName) -> ChangeStatements:
        answer = self._writer.describe(relation, target)
        while True:
            try:
                return answer.result(timeout=_ANSWER_SECONDS)
            except CancelledError:
                self._collect()  # Raises what ended the writing.
            except FutureTimeoutError:
                self._reader.rest(0.0)
                if self._should_stop():
                    raise StoppedWaitingError from None
