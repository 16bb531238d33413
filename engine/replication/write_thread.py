"""Writes batches on a thread of its own, while the next one is read and folded.

The gathering thread submits batches and learns what became of them by asking; it never waits here. The
writing thread owns the target session. When writing fails, nothing more is written: what was submitted
later is dropped with the open transaction, and the stream starts again from the recorded position.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime

from engine.catalog.table import TableName
from engine.replication.apply import Applier
from engine.replication.batch import Batch, CommitPoint, PassedFence
from engine.replication.change_statement import ChangeStatements
from engine.replication.protocol import Relation


@dataclass(frozen=True, slots=True)
class _Description:
    relation: Relation
    target: TableName
    answer: Future[ChangeStatements] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Written:
    """A commit point that has become durable."""

    commit: CommitPoint
    changes: dict[int, int]
    """Of each source table, since the last one."""

    transactions: int
    """Source transactions that became durable with it."""

    committed_at: datetime | None
    """When the last of them was committed on the source."""

    fences: tuple[PassedFence, ...] = ()
    """Passed since the last one, with what came after them up to here."""


class WriteThread:
    """Every method may be called from the gathering thread only."""

    def __init__(self, applier: Applier, on_progress: Callable[[], None]) -> None:
        """Prepare.

        Args:
            applier: Used by this thread alone from :meth:`start` to :meth:`close`.
            on_progress: Called after each batch and each answer, and when writing failed.
        """
        self._applier = applier
        self._on_progress = on_progress
        self._orders: queue.SimpleQueue[Batch | _Description | None] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[Written] = queue.SimpleQueue()
        self._counts: dict[int, int] = {}
        self._fences: tuple[PassedFence, ...] = ()
        self._submitted = 0
        self._done = 0
        self._failure: BaseException | None = None
        self._busy_since: float | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="livesync-write", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Let the thread end after the batch at hand; its session may be closed then."""
        self._closing = True
        self._orders.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Batches that were submitted and are not written yet."""
        return self._submitted - self._done

    @property
    def busy_seconds(self) -> float:
        """How long the statement at hand has been worked on; safe from any thread."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, batch: Batch) -> None:
        """Have ``batch`` written after those before it."""
        self._submitted += 1
        self._orders.put(batch)

    def describe(self, relation: Relation, target: TableName) -> Future[ChangeStatements]:
        """Have the target asked how changes of ``relation`` are written, between two batches."""
        order = _Description(relation, target)
        self._orders.put(order)
        return order.answer

    def take_written(self) -> list[Written]:
        """Commit points that became durable since the last call.

        Raises:
            BaseException: Writing failed, whatever with; everything durable was returned before.
        """
        failure = self._failure
        written = []
        while not self._written.empty():
            written.append(self._written.get())
        if not written and failure is not None:
            raise failure
        return written

    def _run(self) -> None:
        while (order := self._orders.get()) is not None and not self._closing:
            try:
                self._busy_since = time.monotonic()
                self._obey(order)
            except BaseException as error:  # A bug must reach the owner, not die with this thread.
                self._failure = error
            self._busy_since = None
            self._on_progress()
            if self._failure is not None:
                self._refuse_rest()
                return

    def _obey(self, order: Batch | _Description) -> None:
        if isinstance(order, _Description):
            try:
                order.answer.set_result(self._applier.describe(order.relation, order.target))
            except Exception as error:  # Whoever asked deals with it.
                order.answer.set_exception(error)
            return
        counts = self._applier.write(order, self._moved)
        for source_oid, changes in counts.items():
            self._counts[source_oid] = self._counts.get(source_oid, 0) + changes
        self._fences = (
            *(replace(one, changes_after=one.changes_after + counts.total()) for one in self._fences),
            *order.fences,
        )
        if order.commit is not None:
            self._written.put(
                Written(order.commit, self._counts, order.transactions, order.committed_at, self._fences)
            )
            self._counts, self._fences = {}, ()
        self._done += 1

    def _moved(self) -> None:
        self._busy_since = time.monotonic()

    def _refuse_rest(self) -> None:
        while (order := self._orders.get()) is not None:
            if isinstance(order, _Description):
                order.answer.cancel()
