"""Copies the ranges of one table, by the worker that has the table and others that have nothing else to do.

Every range is read in the one snapshot that the table's slot exported, by sessions of the worker's own, and
written by a target transaction of its own. What keeps rows from being lost or doubled:

*   The table is in d, and ``copy_again`` is recorded, before the first range is written: from then on its
    target table may hold part of its rows. Only the transaction that records f, after all ranges are
    committed, takes ``copy_again`` back. So whoever finds the table in d empties it and copies it anew.
*   Each range's transaction ends with the check of the epoch, which holds the subscription's row until the
    commit. Taking over waits for that, and whoever took over reads and empties only afterwards. Later
    commits of the old engine find another epoch and are rolled back: into a table that another engine
    emptied, none of ours ever gets.
*   Within one engine a table is never copied twice at a time (:mod:`engine.replication.sync_pool`), and an
    attempt ends only when all its workers have left it. A commit whose answer was lost may still be under
    way then. It holds the lock of its COPY on the target table, so emptying waits for it: TRUNCATE locks
    against everybody, also where a foreign key makes it refuse and the rows are deleted afterwards.
*   A failure of one range stops the others, and the table starts over: there is no half of it to go on from,
    because the snapshot is gone with its session.

The first session holds the table's lock on the source until the end, so that nobody rewrites the table
between two ranges. A worker that joins later might wait behind somebody who waits for that lock, which no
server would notice; so it gives up instead.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
from psycopg import sql

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import EngineError, Side
from engine.replication.copy import Copied, copy_rows, hold_rows
from engine.replication.copy_plan import CopyRange
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.publication import PublishedTable
from engine.replication.state import StateStore
from engine.replication.subscription import REPLICA_ROLE, Running
from engine.replication.sync_sessions import SyncSessions
from engine.replication.target_table import TargetTable
from engine.snapshot import Severity

_LOCK_TIMEOUT = {"lock_timeout": "2s"}
"""Of a source session that joins: long for a lock that nearly always is free, short for a server at rest."""


@dataclass(frozen=True, slots=True)
class CopyTask:
    """What is copied, and in which snapshot."""

    published: PublishedTable
    target_table: TargetTable
    snapshot: str
    """The one that the slot exported."""

    ranges: tuple[CopyRange, ...]
    """In the order they are to be copied."""


def enter_snapshot(source: Session, snapshot: str) -> None:
    """Begin a transaction that sees what ``snapshot`` shows (PostgreSQL 9.28.5).

    Raises:
        EngineError: The snapshot is gone, or the session.
    """
    try:
        source.execute("begin isolation level repeatable read, read only")
        source.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "taking the slot's snapshot") from None


class RangeCopy:
    """The ranges of one table that are still to be copied, and who is at them; safe from any thread."""

    def __init__(self, running: Running, task: CopyTask, sessions: SyncSessions) -> None:
        """Prepare.

        Args:
            running: The engine.
            task: What to copy. The table is in d and is recorded as one to be emptied before another copy.
            sessions: Of the table.
        """
        self._running = running
        self._task = task
        self._sessions = sessions
        self._changed = threading.Condition()
        self._left = deque(task.ranges)
        self._unfinished = len(task.ranges)
        self._helpers = 0
        self._takes_help = True
        self._failure: Exception | None = None
        self._rows = 0
        self._size_bytes = 0

    @property
    def bytes_left(self) -> int:
        """About how much of the table nobody has begun."""
        with self._changed:
            return sum(part.size_bytes for part in self._left)

    def run(self, source: Session, target: Session) -> Copied:
        """Copy until every range is committed, with whoever joins; nobody is at it any more afterwards.

        Args:
            source: In the snapshot's transaction, holding the table's lock.
            target: In no transaction.

        Raises:
            EngineError: The first failure of any range.
            StoppedWaitingError: Asked to stop.
        """
        self._work(source, target, should_leave=lambda: False)
        with self._changed:
            self._takes_help = False
            self._changed.wait_for(lambda: self._helpers == 0)
        if self._failure is not None:
            raise self._failure
        if self._unfinished:
            raise StoppedWaitingError
        try:
            source.execute("select")
        except psycopg.Error as error:
            # With the session its lock was lost, and somebody may have rewritten the table in between.
            raise explain(error, Side.SOURCE, f"reading {self._task.published.name}") from None
        return Copied(self._rows, self._size_bytes)

    def join(self) -> bool:
        """Announce a helper; whether there is something for it to do. Then :meth:`help` must follow."""
        with self._changed:
            if not self._takes_help or not self._left or self._should_stop():
                return False
            self._helpers += 1
            return True

    def help(self, should_leave: Callable[[], bool]) -> None:
        """Copy ranges over sessions of our own until none is left.

        A failure of a range is raised by :meth:`run`, in the worker that has the table.

        Args:
            should_leave: Looked at after each range: whether there is something better to do.
        """
        running, oid = self._running, self._task.published.oid
        try:
            with ExitStack() as stack:
                try:
                    target = stack.enter_context(
                        self._sessions.open(running.config.target, f"copy {oid}", extra=REPLICA_ROLE)
                    )
                    source = stack.enter_context(
                        self._sessions.open(running.config.source, f"copy {oid}", extra=_LOCK_TIMEOUT)
                    )
                    enter_snapshot(source, self._task.snapshot)
                    hold_rows(source, self._task.published, self._should_stop)
                except EngineError as error:
                    self._go_on_without_help(error)
                    return
                except StoppedWaitingError:
                    return
                self._work(source, target, should_leave)
        except Exception as error:  # A bug must reach the worker that has the table.
            self._fail(error)
        finally:
            with self._changed:
                self._helpers -= 1
                self._changed.notify_all()

    def _go_on_without_help(self, error: EngineError) -> None:
        """A server without a free session for a helper still copies the table over the first ones."""
        with self._changed:
            self._takes_help = False
        self._running.feed.emit(
            Severity.WARNING,
            f"{self._task.published.name} is copied by fewer workers than there are. "
            f"{error.failure.sentence()}",
        )

    def _work(self, source: Session, target: Session, should_leave: Callable[[], bool]) -> None:
        try:
            while (part := self._next()) is not None:
                self._copy(part, source, target)
                if should_leave():
                    return
        except StoppedWaitingError:
            return
        except Exception as error:  # Raised by `run`, once the other ranges have been stopped.
            self._fail(error)

    def _next(self) -> CopyRange | None:
        with self._changed:
            return self._left.popleft() if self._left and not self._should_stop() else None

    def _copy(self, part: CopyRange, source: Session, target: Session) -> None:
        running, task = self._running, self._task
        before = Copied(0, 0)

        def moved(rows: int, size_bytes: int) -> None:
            nonlocal before
            self._count(rows - before.rows, size_bytes - before.size_bytes)
            before = Copied(rows, size_bytes)

        doing = f"committing a part of {task.published.name}"
        try:
            target.execute("begin")
            copy_rows(
                source,
                target,
                task.published,
                task.target_table,
                part=part,
                on_progress=moved,
                should_stop=self._should_stop,
            )
            StateStore(target, running.subscription).commit_owned(running.epoch, doing)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, doing) from None
        with self._changed:
            self._unfinished -= 1
        self._sessions.moved()

    def _count(self, rows: int, size_bytes: int) -> None:
        self._sessions.moved()
        with self._changed:
            self._rows += rows
            self._size_bytes += size_bytes
            self._running.monitor.copied(self._task.published.oid, self._rows, self._size_bytes)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = self._failure or error

    def _should_stop(self) -> bool:
        return self._failure is not None or self._running.stop.is_set()


class CopiesAtWork:
    """The tables that are being copied in ranges, where workers without a table find one to help with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: list[RangeCopy] = []

    def run(self, copy: RangeCopy, source: Session, target: Session) -> Copied:
        """:meth:`RangeCopy.run`, with helpers."""
        with self._lock:
            self._copies.append(copy)
        try:
            return copy.run(source, target)
        finally:
            with self._lock:
                self._copies.remove(copy)

    def join(self) -> RangeCopy | None:
        """Announce a helper to the copy that has most left to do, if any has."""
        with self._lock:
            copies: Sequence[RangeCopy] = sorted(self._copies, key=lambda copy: -copy.bytes_left)
        return next((copy for copy in copies if copy.join()), None)
