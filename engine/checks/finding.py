"""What a check found, as a value that screens may hold. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.errors import Side
from engine.providers.fix import Fix


class Verdict(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """Works, but the person should know."""

    BLOCKS = "blocks"
    """The migration cannot start before this is fixed."""

    UNKNOWN = "unknown"
    """The check itself could not be done; the finding says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the list of checks."""

    check: str
    """Short stable name, such as ``wal_level``."""

    side: Side
    verdict: Verdict
    found: str
    """What is there, one line."""

    why: str = ""
    """Why it matters; empty when the verdict is OK."""

    fix: str = ""
    """What to do, as copyable text of a line or more; empty when the verdict is OK."""

    remedy: Fix | None = None
    """The parts of ``fix``: statements that SQL can apply, console path, command, restart."""


def ok(check: str, side: Side, found: str) -> Finding:
    """A finding with nothing to do."""
    return Finding(check, side, Verdict.OK, found)


def trouble(check: str, side: Side, verdict: Verdict, found: str, why: str, *, remedy: Fix) -> Finding:
    """A finding with something to do."""
    return Finding(check, side, verdict, found, why, remedy.text(), remedy)


def by_hand(words: str) -> Fix:
    """A fix that no statement makes."""
    return Fix(words=words)
