"""What is left to do on the target once all rows are there. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.errors import Failure


class Task(Enum):
    """What is done to one object."""

    ANALYZE = "analyze"
    VALIDATE = "validate"
    REFRESH = "refresh"
    AGGREGATE = "aggregate"
    """A continuous aggregate is refreshed."""

    POLICY = "policy"
    """A policy or job of TimescaleDB is added."""


class Progress(Enum):
    """How far an item is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    ALREADY_THERE = "already there"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One thing to do."""

    number: int
    """Its place in the list, from 0."""

    task: Task
    name: str
    """Of the object, quoted, with its schema; of a constraint ``name on table``."""

    statement: str
    relation_oid: int
    """The target's oid of the table or materialized view; two items of one are never run at a time."""

    size_bytes: int
    """Of what has to be read, approximately."""

    requires: frozenset[int] = frozenset()
    """Numbers of items that have to be done before."""

    progress: Progress = Progress.WAITING
    seconds: float = 0.0
    failure: Failure | None = None
    after_cutover: bool = False
    """Whether it would run into changes that still come: done only when somebody says so."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing remains to be done."""
        return self.progress in (Progress.DONE, Progress.ALREADY_THERE)


@dataclass(frozen=True, slots=True)
class Checklist:
    """All items, in the order in which they are begun."""

    items: tuple[ChecklistItem, ...]

    def of(self, task: Task) -> tuple[ChecklistItem, ...]:
        return tuple(item for item in self.items if item.task is task)

    def count(self, progress: Progress) -> int:
        return sum(item.progress is progress for item in self.items)

    @property
    def left(self) -> tuple[ChecklistItem, ...]:
        """What remains to be done now; not what waits for the cutover."""
        return tuple(item for item in self.items if not item.is_settled and not item.after_cutover)

    @property
    def is_settled(self) -> bool:
        """Whether nothing remains to be done now."""
        return not self.left

    @property
    def size_bytes(self) -> int:
        """Of all items."""
        return sum(item.size_bytes for item in self.items)

    @property
    def settled_bytes(self) -> int:
        """Of those where nothing remains to be done."""
        return sum(item.size_bytes for item in self.items if item.is_settled)
