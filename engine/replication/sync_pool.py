"""Worker threads that sync tables, largest first, each table on its own until it is in s.

A worker that finds no table to begin helps with the ranges of one that another worker copies, so that never
more streams than there are workers read the source. A table has one worker at a time, also when it is taken
out of the publication and comes back meanwhile.
"""

from __future__ import annotations

import threading
import time
from bisect import insort
from dataclasses import dataclass, field

from engine.errors import EngineError, Failure, Retry, TableError, internal_failure
from engine.replication.drift import with_fitting_hint
from engine.replication.kept_sessions import KeptSessions
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.publication import PublishedTable
from engine.replication.range_copy import CopiesAtWork
from engine.replication.slots import drop_slot, sync_slot_name
from engine.replication.state import EpochLostError, StateStore, TableRow
from engine.replication.stream import StreamEndedError, stream_ended_failure
from engine.replication.subscription import REPLICA_ROLE, Running
from engine.replication.sync_sessions import SyncSessions
from engine.replication.table_sync import TableSync
from engine.snapshot import Severity, TableState

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_POLL_SECONDS = 0.2

_STATES_TO_SYNC = (TableState.INIT, TableState.DATASYNC, TableState.FINISHEDCOPY)


@dataclass(order=True)
class _Waiting:
    """One table in the queue, ordered by size."""

    sort_key: int
    oid: int
    published: PublishedTable = field(compare=False)
    not_before: float = field(compare=False, default=0.0)
    attempts: int = field(compare=False, default=0)


class SyncPool:
    """A fixed number of threads over a queue of tables; the queue may grow while they work."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._active: set[int] = set()
        self._sessions: dict[int, SyncSessions] = {}
        self._dropped: set[int] = set()
        self._copies = CopiesAtWork()
        self._helping = 0
        self._paused = False
        self._fatal: EngineError | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"livesync-sync-{number}", daemon=True)
            for number in range(1, running.config.sync_workers + 1)
        ]

    def start(self) -> None:
        """Begin working."""
        for thread in self._threads:
            thread.start()

    def add(self, table: TableRow, published: PublishedTable) -> None:
        """Queue a table in i, d or f."""
        with self._lock:
            self._dropped.discard(table.oid)
            insort(self._waiting, _Waiting(-published.size_bytes, table.oid, published))

    def drop(self, source_oid: int) -> bool:
        """Take a table off the queue.

        Returns:
            False when a worker has it right now.
        """
        with self._lock:
            self._waiting = [item for item in self._waiting if item.oid != source_oid]
            self._dropped.add(source_oid)
            return source_oid not in self._active

    def pause(self, paused: bool) -> None:
        """Start no more tables; those being worked on go on."""
        self._paused = paused

    @property
    def busy(self) -> int:
        """Workers that have a table or help with one."""
        return len(self._active) + self._helping

    def at_work(self) -> list[SyncSessions]:
        """The sessions of the tables that workers have."""
        with self._lock:
            return [self._sessions[oid] for oid in self._active]

    @property
    def fatal(self) -> EngineError | None:
        """An error that ends the whole engine."""
        return self._fatal

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the threads after ``running.stop`` was set; whether all have ended."""
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        running = self._running
        kept = KeptSessions()
        try:
            while not running.stop.wait(0 if self._has_table_to_begin() else _POLL_SECONDS):
                self._work_once(kept)
        finally:
            kept.close()

    def _work_once(self, kept: KeptSessions) -> None:
        item = self._take(kept)
        if item is None:
            kept.close()
            self._help()
            return
        try:
            again = self._sync(item)
        finally:
            with self._lock:
                self._active.discard(item.oid)
        if again:
            with self._lock:
                if item.oid not in self._dropped:
                    insort(self._waiting, item)

    def _help(self) -> None:
        copy = self._copies.join()
        if copy is None:
            return
        with self._lock:
            self._helping += 1
        try:
            copy.help(should_leave=self._has_table_to_begin)
        finally:
            with self._lock:
                self._helping -= 1

    def _has_table_to_begin(self) -> bool:
        with self._lock:
            return self._next() is not None

    def _take(self, kept: KeptSessions) -> _Waiting | None:
        with self._lock:
            item = self._next()
            if item is not None:
                self._waiting = [other for other in self._waiting if other is not item]
                self._active.add(item.oid)
                sessions = self._sessions.setdefault(item.oid, SyncSessions())
                sessions.kept = kept
                sessions.moved()
            return item

    def _next(self) -> _Waiting | None:
        """The largest table whose time has come; to be called with the lock."""
        if self._paused:
            return None
        now = time.monotonic()
        return next(
            (item for item in self._waiting if item.not_before <= now and item.oid not in self._active), None
        )

    def _sync(self, item: _Waiting) -> bool:
        """Sync one table; whether it should be tried again."""
        running = self._running
        sessions = self._sessions[item.oid]
        try:
            row = self._read(item.oid, sessions)
            # A table in s or r is the apply stream's, also when we never heard that our commit got through.
            if row is not None and row.last_error is None and row.state in _STATES_TO_SYNC:
                TableSync(running, row, item.published, sessions, self._copies).run()
            else:
                # Its sync may have been cut off after its last commit, before it dropped its slot.
                self._drop_slot(item.oid, sessions)
        except StoppedWaitingError:
            return False
        except EpochLostError as error:
            self._fatal = error
            return False
        except TableError as error:
            self._set_aside(item.oid, sessions, error.failure)
            return False
        except StreamEndedError:
            return self._postpone(item, stream_ended_failure())
        except EngineError as error:
            if running.stop.is_set():
                return False
            if error.failure.retry is Retry.TIMED:
                return self._postpone(item, error.failure)
            self._set_aside(item.oid, sessions, error.failure)
            return False
        except Exception as error:  # A bug in the sync of one table must be seen, not kill the thread.
            self._set_aside(item.oid, sessions, internal_failure(error, "syncing a table"))
            raise
        return False

    def _drop_slot(self, source_oid: int, sessions: SyncSessions) -> None:
        with sessions.open(self._running.config.source, f"sync {source_oid}") as source:
            drop_slot(source, sync_slot_name(self._running.subscription, source_oid))

    def _read(self, source_oid: int, sessions: SyncSessions) -> TableRow | None:
        with sessions.open(self._running.config.target, "sync", extra=REPLICA_ROLE) as session:
            return StateStore(session, self._running.subscription).settled_table(source_oid)

    def _postpone(self, item: _Waiting, failure: Failure) -> bool:
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**item.attempts)
        item.attempts += 1
        item.not_before = time.monotonic() + pause
        running = self._running
        running.monitor.activity(item.oid, f"trying again in {pause:.0f} s: {failure.title}")
        running.feed.emit(
            Severity.WARNING,
            f"Sync of {item.published.name} failed. {failure.sentence()} Trying again in {pause:.0f} s.",
        )
        return True

    def _set_aside(self, source_oid: int, sessions: SyncSessions, failure: Failure) -> None:
        running = self._running
        try:
            with sessions.open(running.config.target, "sync") as session:
                state = StateStore(session, running.subscription)
                table = next((table for table in state.tables() if table.oid == source_oid), None)
                if table is not None:
                    failure = with_fitting_hint(running.config, session, table, failure)
                state.write_error(source_oid, failure.sentence())
        except EngineError as error:
            running.feed.emit(Severity.ERROR, f"Could not record an error: {error.failure.sentence()}")
        running.monitor.set_aside(source_oid, failure.sentence())
        running.feed.emit(Severity.ERROR, f"Table set aside: {failure.sentence()}")
