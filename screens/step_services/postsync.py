"""What the step Post-sync needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from engine.errors import Failure
from engine.postsync.checklist import Checklist


class PostsyncServices(Protocol):
    """What is left to do on the target once all rows are there."""

    def plan(self) -> Checklist | Failure:
        """What is to be done, and what was done already (blocking)."""

    def run(
        self, checklist: Checklist, chosen: Collection[int] | None, on_progress: Callable[[Checklist], None]
    ) -> Checklist | Failure:
        """Do it (blocking); ``on_progress`` is called from other threads, one at a time.

        Args:
            checklist: As planned, or as an earlier run left it.
            chosen: Numbers of the items to do; None for all that are not settled.
            on_progress: Takes the list after each change.
        """

    def stop(self) -> None:
        """Cancel what is running; the items wait again. Returns at once."""

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until nothing runs any more; whether that came in time (blocking)."""
