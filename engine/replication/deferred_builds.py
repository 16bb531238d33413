"""Builds what the restored schema put off: keys before a table's catch-up, the rest after the copy.

    i d f   table_sync.py asks for the keys of its table, on its own thread
    s r     once every table that is not set aside is here, these threads build the rest, in order

Both draw on one budget of builds at a time. Each build is one target transaction that ends by marking its
step done, so a crash leaves a step either built and marked or neither. CREATE INDEX locks its table against
writes while it runs: the apply stream then stands still and says so, and catches up afterwards. A build that
would have to wait long for a lock gives up and comes again, so that it never stands in a deadlock with the
apply stream nor keeps others queueing behind it.

What the target refuses is marked failed with its words: a key's failure is its table's, any other is said and
shown by ``status``, while replication goes on. Steps that need a failed one wait for it. The next start tries
failed steps again, so mending and restarting is all there is to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import EngineError, Failure, Retry, Side, TableError, internal_failure
from engine.feed import Feed
from engine.replication.deferred_state import DeferredStep, DeferredStore, StepState
from engine.replication.monitor import Monitor
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.state import EpochLostError, StateStore
from engine.replication.sync_sessions import SyncSessions
from engine.schema.deferral import INDEX
from engine.snapshot import Severity, TableState

_POLL_SECONDS = 0.2
_FIRST_PATIENCE_SECONDS = 0.5
"""Below ``deadlock_timeout``'s default of 1 s: it is we who give way, not the apply stream."""

_LONGEST_PATIENCE_SECONDS = 4.0
"""Others queue behind us while we wait; at most half of the time, because the pause is as long."""

_PAUSE_SECONDS = 30.0
_CANCEL_SECONDS = 5.0

_LOCK_NOT_TO_BE_HAD = ("55P03", "40P01")
_IS_THERE = ("42P07", "42710")
"""duplicate_table (of indexes too), duplicate_object."""

_SYNCED = (TableState.SYNCDONE, TableState.READY)


@dataclass(frozen=True, slots=True)
class _Build:
    """A step that somebody has taken."""

    step: DeferredStep
    session: Session | None = None
    """Where its statement runs, so that a stop can cancel it."""


class DeferredBuilds:
    """The steps of one subscription and who builds them; safe from any thread."""

    def __init__(
        self,
        *,
        target: Endpoint,
        subscription: str,
        epoch: int,
        feed: Feed,
        monitor: Monitor,
        stop: threading.Event,
        builds_at_a_time: int,
        maintenance_work_mem: str | None,
    ) -> None:
        self._target = target
        self._subscription = subscription
        self._epoch = epoch
        self._feed = feed
        self._monitor = monitor
        self._stop = stop
        self._settings = (
            {} if maintenance_work_mem is None else {"maintenance_work_mem": maintenance_work_mem}
        )
        self._budget = threading.BoundedSemaphore(builds_at_a_time)
        self._lock = threading.Lock()
        # What is not done, in order.
        self._open: dict[int, DeferredStep] = {}
        self._total = 0
        self._keys: dict[int, list[int]] = {}
        self._building: dict[int, _Build] = {}
        self._not_before: dict[int, float] = {}
        self._sessions = [SyncSessions() for _ in range(builds_at_a_time)]
        self._is_copied = False
        self._threads: list[threading.Thread] = []
        self.fatal: EngineError | None = None

    def start(self, steps: Collection[DeferredStep]) -> None:
        """Take up what is recorded; begin only when something is left to do."""
        self._total = len(steps)
        self._open = {step.position: step for step in steps if step.state is not StepState.DONE}
        for step in self._open.values():
            for table in step.planned.needed_by:
                self._keys.setdefault(table, []).append(step.position)
        if not self._open:
            return
        self._threads = [
            threading.Thread(
                target=self._work, args=(sessions,), name=f"livesync-index-{number}", daemon=True
            )
            for number, sessions in enumerate(self._sessions, 1)
        ]
        for thread in self._threads:
            thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """End after the engine's stop was set: builds are cancelled and begin anew with the next start."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self._lock:
                for build in self._building.values():
                    if build.session is not None:
                        with suppress(psycopg.Error):
                            build.session.cancel_safe(timeout=_CANCEL_SECONDS)
            for thread in self._threads:
                thread.join(_POLL_SECONDS)
            if not self._building and not any(thread.is_alive() for thread in self._threads):
                return True
            time.sleep(_POLL_SECONDS if not self._threads else 0)
        return False

    @property
    def remaining(self) -> int:
        """Steps that are still to be done and can be."""
        with self._lock:
            in_vain = self._in_vain()
            return sum(
                1
                for position, step in self._open.items()
                if step.state is StepState.PENDING and position not in in_vain
            )

    @property
    def failed(self) -> int:
        """Steps that the target refused, and those that need one of them."""
        with self._lock:
            return len(self._in_vain())

    def _in_vain(self) -> set[int]:
        in_vain: set[int] = set()
        for position, step in self._open.items():
            if step.state is StepState.FAILED or not in_vain.isdisjoint(step.planned.requires):
                in_vain.add(position)
        return in_vain

    def activities(self) -> dict[int, str]:
        """Of the source's tables on which something is being built after the copy, what."""
        with self._lock:
            building = [build.step for build in self._building.values()]
        return {table: f"building {step.label}" for step in building for table in step.planned.source_tables}

    def at_work(self) -> list[SyncSessions]:
        """The sessions of builds after the copy."""
        return [sessions for sessions in self._sessions if sessions.pids(Side.TARGET)]

    def build_keys(self, source_oid: int, sessions: SyncSessions) -> None:
        """Build what a table's catch-up needs; a table without such steps needs nothing.

        Args:
            source_oid: The table, all its rows copied.
            sessions: Of its sync.

        Raises:
            TableError: The target refused a key.
            StoppedWaitingError: Asked to stop.
            EngineError: The target failed; another try may help.
        """
        with self._lock:
            needed = [
                self._open[position] for position in self._keys.get(source_oid, ()) if position in self._open
            ]
        for step in needed:
            while not self._budget.acquire(timeout=_POLL_SECONDS):
                sessions.moved()
                if self._stop.is_set():
                    raise StoppedWaitingError
            self._monitor.activity(source_oid, f"building {step.label}")
            try:
                self._build(step, sessions)
            except psycopg.Error as error:
                refused = _explained(step, error)
                if refused.failure.retry is Retry.TIMED:
                    raise refused from None
                self._record_failure(step, refused.failure, sessions)
                raise TableError(refused.failure) from None
            finally:
                with self._lock:
                    self._building.pop(step.position, None)
                self._budget.release()

    # --- after the copy

    def _work(self, sessions: SyncSessions) -> None:
        while self._open and not self._stop.wait(_POLL_SECONDS):
            try:
                while self._build_next(sessions):
                    pass
            except StoppedWaitingError:
                return
            except EpochLostError as error:
                self.fatal = error
                return
            except EngineError as error:
                if self._stop.is_set():
                    return
                self._feed.emit(
                    Severity.WARNING, f"{error.failure.sentence()} Trying again in {_PAUSE_SECONDS:.0f} s."
                )
                self._stop.wait(_PAUSE_SECONDS)
            except Exception as error:
                self.fatal = EngineError(internal_failure(error, "building indexes and constraints"))
                raise

    def _build_next(self, sessions: SyncSessions) -> bool:
        """Build one step; False when there is none to build now."""
        if self._stop.is_set() or not self._may_begin():
            return False
        if not self._budget.acquire(timeout=_POLL_SECONDS):
            return False
        try:
            step = self._take()
            if step is None:
                return False
            try:
                self._build(step, sessions)
            except psycopg.Error as error:
                self._refused(step, _explained(step, error).failure, sessions)
            finally:
                with self._lock:
                    self._building.pop(step.position, None)
        finally:
            self._budget.release()
        return True

    def _may_begin(self) -> bool:
        """Whether every table that is not set aside is in s or r, or once was."""
        if self._is_copied:
            return True
        tables = [table for table in self._monitor.tables() if table.last_error is None]
        if not all(table.state in _SYNCED for table in tables):
            return False
        with self._lock:
            is_first, self._is_copied = not self._is_copied, True
        if is_first:
            self._feed.emit(
                Severity.INFO,
                f"Every table is copied; {self.remaining} indexes, constraints and others are built now",
            )
        return True

    def _take(self) -> DeferredStep | None:
        """The first step that can be built now, marked as being built."""
        now = time.monotonic()
        with self._lock:
            for step in self._open.values():
                if (
                    step.state is StepState.PENDING
                    and step.position not in self._building
                    and self._not_before.get(step.position, 0.0) <= now
                    and self._open.keys().isdisjoint(step.planned.requires)
                    and all(self._may_be_built_on(table) for table in step.planned.source_tables)
                    and not any(
                        _are_in_each_others_way(step, build.step) for build in self._building.values()
                    )
                ):
                    self._building[step.position] = _Build(step)
                    return step
        return None

    def _may_be_built_on(self, source_oid: int) -> bool:
        """A table that is set aside will be copied again; until then its objects wait."""
        table = self._monitor.table(source_oid)
        return table is None or (table.last_error is None and table.state in _SYNCED)

    def _refused(self, step: DeferredStep, failure: Failure, sessions: SyncSessions) -> None:
        if self._stop.is_set():
            raise StoppedWaitingError
        if failure.retry is not Retry.TIMED:
            self._record_failure(step, failure, sessions)
            self._feed.emit(Severity.ERROR, failure.sentence())
            return
        with self._lock:
            self._not_before[step.position] = time.monotonic() + _PAUSE_SECONDS
        self._feed.emit(Severity.WARNING, f"{failure.sentence()} Trying again in {_PAUSE_SECONDS:.0f} s.")

    # --- one step

    def _build(self, step: DeferredStep, sessions: SyncSessions) -> None:
        """Run a step's statement unless that was done; give way to other sessions' locks.

        Raises:
            psycopg.Error: The target refused.
        """
        patience, said = _FIRST_PATIENCE_SECONDS, False
        with sessions.open(self._target, f"index {step.position}", extra=self._settings) as session:
            with self._lock:
                self._building[step.position] = _Build(step, session)
            try:
                while True:
                    if self._stop.is_set():
                        raise StoppedWaitingError
                    sessions.moved()
                    try:
                        self._build_once(step, session, patience)
                        return
                    except psycopg.Error as error:
                        if self._stop.is_set():
                            raise StoppedWaitingError from None
                        if error.sqlstate not in _LOCK_NOT_TO_BE_HAD:
                            raise
                    if patience == _LONGEST_PATIENCE_SECONDS and not said:
                        said = True
                        self._feed.emit(
                            Severity.WARNING,
                            f"Building {step.label} waits for another session to release its table",
                        )
                    self._stop.wait(patience)
                    patience = min(_LONGEST_PATIENCE_SECONDS, 2 * patience)
            finally:
                with self._lock:
                    self._building[step.position] = _Build(step)

    def _build_once(self, step: DeferredStep, session: Session, patience_seconds: float) -> None:
        store = DeferredStore(session, self._subscription)
        state = StateStore(session, self._subscription)
        began = time.monotonic()
        is_there = False
        with session.transaction():
            session.execute(f"set local lock_timeout = {patience_seconds * 1000:.0f}".encode())
            found = store.claim(step.position)
            if found is None:
                raise EpochLostError(self._subscription)
            if found is not StepState.DONE:
                try:
                    with session.transaction():
                        session.execute(step.planned.statement.encode())
                except psycopg.Error as error:
                    if error.sqlstate not in _IS_THERE:
                        raise
                    is_there = True
                # What took an hour to build is not given up for a row that is locked for a moment.
                session.execute("set local lock_timeout = 0")
                store.write(step.position, StepState.DONE)
                state.require_epoch(self._epoch)
        with self._lock:
            self._open.pop(step.position, None)
            done = self._total - len(self._open)
        if found is StepState.DONE:
            return
        if is_there:
            self._feed.emit(
                Severity.WARNING, f"The target has a {step.label} already, which is left as it is"
            )
        else:
            seconds = time.monotonic() - began
            self._feed.emit(Severity.INFO, f"Built {step.label} ({done} of {self._total}) in {seconds:.1f} s")
        if done == self._total:
            self._feed.emit(Severity.INFO, "The schema is complete")

    def _record_failure(self, step: DeferredStep, failure: Failure, sessions: SyncSessions) -> None:
        with sessions.open(self._target, f"index {step.position}") as session:
            DeferredStore(session, self._subscription).write(
                step.position, StepState.FAILED, failure.sentence()
            )
        with self._lock:
            self._open[step.position] = replace(step, state=StepState.FAILED, last_error=failure.sentence())


def _are_in_each_others_way(one: DeferredStep, other: DeferredStep) -> bool:
    """Whether two steps would wait for each other's lock on a table."""
    if one.planned.kind == INDEX and other.planned.kind == INDEX:
        return False
    return bool(one.planned.source_tables & other.planned.source_tables)


def _explained(step: DeferredStep, error: psycopg.Error) -> EngineError:
    explained = explain(error, Side.TARGET, f"building {step.label}")
    failure = explained.failure
    if failure.retry is Retry.TIMED:
        return explained
    return EngineError(
        replace(
            failure,
            title=f"The target refused {step.label}",
            hint="Mend that on the target, or build it there under the same name; "
            "the next start tries it again",
        )
    )
