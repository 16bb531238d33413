"""What of a schema both sides have, and what became of the rest. Imports only the standard library."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from engine.errors import Failure


class Presence(Enum):
    """How an object stands on the two sides."""

    IDENTICAL = "identical"
    MISSING = "missing on the target"
    DIFFERENT = "different"
    ONLY_ON_TARGET = "only on the target"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """By what an object of one side is found on the other."""

    kind: str
    """pg_dump's word: ``TABLE``, ``INDEX``, ``FK CONSTRAINT``, ``COMMENT``, …"""

    name: str
    """Quoted, with its schema, as PostgreSQL identifies it: ``public.orders``, ``total on public.orders``."""

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.name}"


@dataclass(frozen=True, slots=True)
class ComparedObject:
    """One object on both sides."""

    key: ObjectKey
    presence: Presence
    source_statement: str = ""
    """pg_dump's; empty when the source has none."""

    target_statement: str = ""
    waits_for_rows: bool = False
    """Whether it is post-data: an index, a constraint, a trigger, a rule, a policy."""

    def diff(self) -> str:
        """What would have to change on the target, as a unified diff; empty when nothing."""
        if self.presence is Presence.IDENTICAL:
            return ""
        lines = difflib.unified_diff(
            self.target_statement.splitlines(),
            self.source_statement.splitlines(),
            "target",
            "source",
            lineterm="",
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class SchemaComparison:
    """All objects of both sides, in an order in which they can be made; those only on the target last."""

    objects: tuple[ComparedObject, ...]

    def those(self, presence: Presence) -> tuple[ComparedObject, ...]:
        return tuple(one for one in self.objects if one.presence is presence)

    def count(self, presence: Presence) -> int:
        return sum(one.presence is presence for one in self.objects)


class ExtensionState(Enum):
    """What is to be done about an extension of the source."""

    THERE = "already there"
    OTHER_SCHEMA = "there in another schema"
    MISSING = "to be created"
    UNAVAILABLE = "not offered by the target"


@dataclass(frozen=True, slots=True)
class PlannedExtension:
    """One extension that the source has."""

    name: str
    schema: str
    source_version: str
    target_version: str
    """Installed there, or what CREATE EXTENSION would install; empty when it is not offered."""

    state: ExtensionState
    is_older: bool
    """Whether the target's version is."""

    statement: str = ""
    """What creates it, with its schema; empty when there is nothing to do or nothing can be done."""


@dataclass(frozen=True, slots=True)
class PlannedStatement:
    """One object to be made, or one statement of a script."""

    about: str
    """For display."""

    sql: str
    key: ObjectKey | None = None


class Applied(Enum):
    """What became of one statement."""

    DONE = "done"
    IDENTICAL = "already there"
    """Exactly this is on the target; nothing was run."""

    EXISTS = "exists, perhaps different"
    """Something of that name is on the target; it was left as it is."""

    REFUSED = "refused"
    UNDONE = "undone"
    """It worked, and was undone because another statement was refused."""


@dataclass(frozen=True, slots=True)
class AppliedStatement:
    """One statement, after it was run."""

    planned: PlannedStatement
    outcome: Applied
    seconds: float = 0.0
    failure: Failure | None = None
    """PostgreSQL's words when it was refused, or found in place."""


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """All statements, in order."""

    results: tuple[AppliedStatement, ...]

    @property
    def refused(self) -> tuple[AppliedStatement, ...]:
        return self.those(Applied.REFUSED)

    def those(self, outcome: Applied) -> tuple[AppliedStatement, ...]:
        return tuple(result for result in self.results if result.outcome is outcome)

    def count(self, outcome: Applied) -> int:
        return len(self.those(outcome))

    def __add__(self, other: ApplyReport) -> ApplyReport:
        return ApplyReport(self.results + other.results)


def as_script(statements: Iterable[PlannedStatement]) -> str:
    """A file for psql with the statements, for a person to read and edit."""
    return "".join(f"{one.sql.rstrip().removesuffix(';')};\n\n" for one in statements)
