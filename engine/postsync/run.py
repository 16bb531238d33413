"""Works a checklist off over several sessions; one item that fails does not keep others from being done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

import psycopg
from psycopg.errors import Diagnostic

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain, is_connection_loss
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Failure, Side, internal_failure
from engine.postsync.checklist import Checklist, ChecklistItem, Progress, Task

_POLL_SECONDS = 0.1
_CANCEL_SECONDS = 5.0

_SETTINGS = {"row_security": "on"}
"""A materialized view is refreshed as its owner, with the rows that policies let the owner see, as whenever
the application refreshes it; off would refuse it."""

_WAS_ANALYZED = """
select pg_catalog.pg_stat_get_last_analyze_time(%s)
       >= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %s)
"""

_FLUSH_STATISTICS = "select pg_catalog.pg_stat_force_next_flush()"
"""A session tells only now and then what it changed; told after an ANALYZE, it would count as newer."""

_DONE_TO_IT = {
    Task.ANALYZE: "analyzed",
    Task.VALIDATE: "validated",
    Task.REFRESH: "refreshed",
    Task.AGGREGATE: "refreshed",
    Task.POLICY: "added",
}

_NAME_NOT_FOUND = ("42P01", "42883", "42704", "3F000")
_SEARCH_PATH_HINT = (
    "The search_path is empty meanwhile, as it is for pg_restore: a function used here has to write names "
    "with their schema, or be given its own: alter function … set search_path = …"
)


def run_checklist(
    target: Endpoint,
    checklist: Checklist,
    *,
    session_count: int,
    stop: threading.Event,
    on_progress: Callable[[Checklist], None],
    chosen: Collection[int] | None = None,
) -> Checklist:
    """Do what is left to do; blocks until all is done, or ``stop`` is set.

    Args:
        target: Where.
        checklist: As planned, or as an earlier run left it.
        session_count: How many items run at a time.
        stop: Cancels what is running; those items wait again.
        on_progress: Called from several threads, one at a time, with the list after each change.
        chosen: Numbers of the items to do, those that were done too and those that wait for the cutover; None
            for all that are not done and need not wait.

    Returns:
        The list as it is at the end.

    Raises:
        EngineError: No session could be had and items are left; ``on_progress`` was told what was done.
    """
    run = _Run(target, checklist, stop, on_progress, chosen)
    threads = [
        threading.Thread(target=run.work, args=(number,), name=f"livesync-postsync-{number}", daemon=True)
        for number in range(1, min(session_count, run.left) + 1)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(_POLL_SECONDS)
        if stop.is_set():
            run.cancel()
    if run.error is not None and run.left and not stop.is_set():
        raise run.error
    return run.checklist


class _Run:
    """The list while it is worked off; safe from any thread."""

    def __init__(
        self,
        target: Endpoint,
        checklist: Checklist,
        stop: threading.Event,
        on_progress: Callable[[Checklist], None],
        chosen: Collection[int] | None,
    ) -> None:
        self._target = target
        self._stop = stop
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._items = list(checklist.items)
        # Its keys in order.
        self._left = {
            item.number: None
            for item in self._items
            if (not item.is_settled and not item.after_cutover if chosen is None else item.number in chosen)
        }
        for number in self._left:
            self._items[number] = replace(
                self._items[number], progress=Progress.WAITING, seconds=0.0, failure=None
            )
        self._busy: set[int] = set()
        self._sessions: dict[int, Session] = {}
        self.error: EngineError | None = None

    @property
    def left(self) -> int:
        """Items that nobody has done or tried."""
        with self._changed:
            return len(self._left)

    @property
    def checklist(self) -> Checklist:
        with self._changed:
            return Checklist(tuple(self._items))

    def cancel(self) -> None:
        """Cancel what is running; to be repeated, because a statement may only be on its way."""
        with self._changed:
            sessions = list(self._sessions.values())
        for session in sessions:
            with suppress(psycopg.Error):
                session.cancel_safe(timeout=_CANCEL_SECONDS)

    def work(self, worker: int) -> None:
        """Do items until none is left."""
        session: Session | None = None
        item: ChecklistItem | None = None
        try:
            while (item := self._take()) is not None:
                if session is None or session.closed:
                    session = open_session(self._target, f"post-sync {worker}", extra=_SETTINGS)
                    with self._changed:
                        self._sessions[worker] = session
                done = self._do(session, item)
                self._put(done)
                item = None
        except EngineError as error:
            self.error = error
        except Exception as error:
            self.error = EngineError(internal_failure(error, "working the checklist off"))
            raise
        finally:
            if item is not None:
                self._put(replace(item, progress=Progress.WAITING))
            with self._changed:
                self._sessions.pop(worker, None)
            if session is not None:
                session.close()

    def _take(self) -> ChecklistItem | None:
        """The next item that can be done now, waiting for it; None when there is none any more."""
        with self._changed:
            while not self._stop.is_set() and self._left:
                for number in self._left:
                    item = self._items[number]
                    if item.progress is Progress.RUNNING or item.relation_oid in self._busy:
                        continue
                    if any(other in self._left for other in item.requires):
                        continue
                    refused = [
                        self._items[other]
                        for other in sorted(item.requires)
                        if _stands_in_the_way(item, self._items[other])
                    ]
                    if refused:
                        # Settled here, so that what requires this one is looked at once more.
                        self._settle(_in_vain(item, refused[0]))
                        break
                    self._busy.add(item.relation_oid)
                    running = replace(item, progress=Progress.RUNNING)
                    self._items[number] = running
                    self._tell()
                    return running
                else:
                    if not self._busy:
                        return None
                    self._changed.wait(_POLL_SECONDS)
            return None

    def _put(self, item: ChecklistItem) -> None:
        with self._changed:
            self._busy.discard(item.relation_oid)
            self._settle(item)

    def _settle(self, item: ChecklistItem) -> None:
        self._items[item.number] = item
        if item.progress is not Progress.WAITING:
            self._left.pop(item.number, None)
        self._tell()
        self._changed.notify_all()

    def _tell(self) -> None:
        self._on_progress(Checklist(tuple(self._items)))

    def _do(self, session: Session, item: ChecklistItem) -> ChecklistItem:
        warnings: list[str] = []

        def keep(notice: Diagnostic) -> None:
            if notice.severity_nonlocalized == "WARNING":
                warnings.append(notice.message_primary or "")

        began = time.monotonic()
        session.add_notice_handler(keep)
        try:
            session.execute(item.statement.encode())
            seconds = time.monotonic() - began
            if item.task is Task.REFRESH:
                session.execute(_FLUSH_STATISTICS)
            # Without the right to, PostgreSQL skips a table with a warning.
            if item.task is Task.ANALYZE and warnings and not _was_analyzed(session, item, seconds):
                failure = Failure(
                    f"{item.name} was not analyzed",
                    "; ".join(warnings),
                    "Run this as the owner of the table, or grant MAINTAIN on it (PostgreSQL 17 and newer)",
                    side=Side.TARGET,
                )
                return replace(item, progress=Progress.FAILED, seconds=seconds, failure=failure)
        except psycopg.Error as error:
            if is_connection_loss(error):
                session.close()
            elif self._stop.is_set():
                return replace(item, progress=Progress.WAITING)
            return replace(
                item,
                progress=Progress.FAILED,
                seconds=time.monotonic() - began,
                failure=_failure(item, error),
            )
        finally:
            session.remove_notice_handler(keep)
        return replace(item, progress=Progress.DONE, seconds=seconds)


def _was_analyzed(session: Session, item: ChecklistItem, seconds: float) -> bool:
    return session.execute(_WAS_ANALYZED, (item.relation_oid, seconds)).fetchone() == (True,)


def _failure(item: ChecklistItem, error: psycopg.Error) -> Failure:
    failure = explain(error, Side.TARGET, "working the checklist off").failure
    if not is_connection_loss(error):
        failure = replace(failure, title=f"{item.name} could not be {_DONE_TO_IT[item.task]}")
    if error.sqlstate in _NAME_NOT_FOUND:
        return replace(failure, hint=_SEARCH_PATH_HINT)
    return failure


def _stands_in_the_way(item: ChecklistItem, other: ChecklistItem) -> bool:
    """Whether ``other``, which nobody is about to do, keeps ``item`` from being done.

    What drops rows comes too early while what reads them was not even tried.
    """
    return other.progress is Progress.FAILED or (item.task is Task.POLICY and not other.is_settled)


def _in_vain(item: ChecklistItem, refused: ChecklistItem) -> ChecklistItem:
    return replace(
        item,
        progress=Progress.FAILED,
        failure=Failure(
            f"{item.name} needs {refused.name}, which "
            + ("failed" if refused.progress is Progress.FAILED else "is not done"),
            hint=f"Mend {refused.name} first, then run both again",
            side=Side.TARGET,
        ),
    )
