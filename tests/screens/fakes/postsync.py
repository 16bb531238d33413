"""What is left to do, without a server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from threading import Event as Signal

from engine.errors import Failure
from engine.postsync.checklist import Checklist, ChecklistItem, Progress, Task


def checklist() -> Checklist:
    """A foreign key, two tables and a view, of which one table is done."""
    return Checklist(
        (
            ChecklistItem(
                0,
                Task.VALIDATE,
                "orders_customer_fkey on public.orders",
                "alter table public.orders validate constraint orders_customer_fkey",
                102,
                2300 << 20,
            ),
            ChecklistItem(1, Task.ANALYZE, "public.orders", "analyze public.orders", 102, 2300 << 20),
            ChecklistItem(
                2,
                Task.ANALYZE,
                "public.customers",
                "analyze public.customers",
                101,
                96 << 20,
                progress=Progress.ALREADY_THERE,
            ),
            ChecklistItem(
                3,
                Task.REFRESH,
                "public.sales_by_day",
                "refresh materialized view public.sales_by_day",
                110,
                2400 << 20,
            ),
        )
    )


@dataclass
class FakePostsync:
    """PostsyncServices for tests."""

    planned: Checklist | Failure = field(default_factory=checklist)
    failures: dict[int, Failure] = field(default_factory=dict)
    """By number of an item, what it fails with."""

    waits_for: Signal | None = None
    """What holds a run, with its first item running, until it is set."""

    runs: list[Collection[int] | None] = field(default_factory=list)
    stopped: int = 0

    def plan(self) -> Checklist | Failure:
        return self.planned

    def run(
        self, checklist: Checklist, chosen: Collection[int] | None, on_progress: Callable[[Checklist], None]
    ) -> Checklist | Failure:
        self.runs.append(chosen)
        if self.waits_for is not None:
            first = next(item.number for item in checklist.items if not item.is_settled)
            on_progress(
                Checklist(
                    tuple(
                        replace(item, progress=Progress.RUNNING) if item.number == first else item
                        for item in checklist.items
                    )
                )
            )
            self.waits_for.wait()
        done = Checklist(tuple(self._done(item, chosen) for item in checklist.items))
        on_progress(done)
        self.planned = done
        return done

    def _done(self, item: ChecklistItem, chosen: Collection[int] | None) -> ChecklistItem:
        if item.is_settled if chosen is None else item.number not in chosen:
            return item
        failure = self.failures.get(item.number)
        if failure is not None:
            return replace(item, progress=Progress.FAILED, failure=failure, seconds=0.2)
        return replace(item, progress=Progress.DONE, failure=None, seconds=12.5)

    def stop(self) -> None:
        self.stopped += 1
        if self.waits_for is not None:
            self.waits_for.set()

    def wait_for_end(self, seconds: float) -> bool:
        return True
