"""What is left to do on the target once all rows are there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from engine.connection.session import open_session
from engine.errors import Failure, Side
from engine.postsync.checklist import Checklist, ChecklistItem, Progress
from engine.postsync.plan import plan_checklist
from engine.postsync.run import run_checklist
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.transcript import Executed


class PostsyncSteps:
    """Implements :class:`screens.step_services.postsync.PostsyncServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._idle.set()

    @returns_failure("looking at what is left to do")
    def plan(self) -> Checklist:
        with (
            open_session(self._context.source, "what is left") as source,
            open_session(self._context.target, "what is left") as target,
        ):
            return plan_checklist(source, target)

    @returns_failure("doing what is left")
    def run(
        self, checklist: Checklist, chosen: Collection[int] | None, on_progress: Callable[[Checklist], None]
    ) -> Checklist:
        self._context.require_writing()
        self._idle.clear()
        latest = checklist

        def progressed(current: Checklist) -> None:
            nonlocal latest
            latest = current
            on_progress(current)

        try:
            return run_checklist(
                self._context.target,
                checklist,
                session_count=self._context.migration.sync_workers,
                stop=self._stop,
                on_progress=progressed,
                chosen=chosen,
            )
        finally:
            # What was done before the target was lost is told too.
            self._context.transcribe(Side.TARGET, _executed(checklist, latest))
            # Asked for before the run had begun, a stop still counts for it.
            self._stop.clear()
            self._idle.set()

    def stop(self) -> None:
        self._stop.set()

    def wait_for_end(self, seconds: float) -> bool:
        return self._idle.wait(seconds)


def _executed(before: Checklist, after: Checklist) -> list[Executed]:
    """The items that were tried to their end."""
    return [
        _as_executed(item)
        for old, item in zip(before.items, after.items, strict=True)
        if item != old and item.progress in (Progress.DONE, Progress.FAILED)
    ]


def _as_executed(item: ChecklistItem) -> Executed:
    failure: Failure | None = item.failure
    outcome = "applied" if item.progress is Progress.DONE else "refused"
    return Executed(item.statement, item.seconds, outcome, "" if failure is None else failure.sentence())
