"""What a check found, as a value that screens may hold. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.errors import Side


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
    """What to do, as copyable SQL or words; empty when the verdict is OK."""
