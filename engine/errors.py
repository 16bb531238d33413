"""What went wrong, said so that a person at night knows the next step.

Every failure the engine reports has one shape, :class:`Failure`: what happened, what PostgreSQL said
verbatim, what to do, and what the engine does next. :class:`EngineError` and its subclasses carry one
across function borders; they never carry a connection string, a row value or a driver exception
(raise them ``from None``), because tracebacks print causes and locals.

This module imports only the standard library, so that screens may use it.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Side(Enum):
    """Which of the two databases a value or an error belongs to."""

    SOURCE = "source"
    TARGET = "target"


class Retry(Enum):
    """What the engine does next about a failure."""

    TIMED = "timed"
    """The engine tries again by itself after a growing pause."""

    MANUAL = "manual"
    """The engine waits until the person asks for another try."""

    NEVER = "never"
    """Trying again cannot help; something else has to change first."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure as it is shown, logged and stored."""

    title: str
    """What happened, one sentence without a trailing full stop."""

    detail: str = ""
    """What PostgreSQL or the operating system said, verbatim; secrets already removed."""

    hint: str = ""
    """What to do now."""

    sqlstate: str | None = None
    side: Side | None = None
    retry: Retry = Retry.MANUAL

    def sentence(self) -> str:
        """All parts on one line, for stderr, ``last_error`` and the log."""
        parts = [self.title]
        if self.detail:
            code = f" (SQLSTATE {self.sqlstate})" if self.sqlstate else ""
            parts.append(f"PostgreSQL said: {' '.join(self.detail.split())}{code}")
        if self.hint:
            parts.append(self.hint)
        return ". ".join(part.rstrip(".") for part in parts) + "."


def internal_failure(error: BaseException, doing: str) -> Failure:
    """The failure of an error nobody foresaw.

    Of the error itself only its class and the place are told: its text may hold a value or a connection
    string.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return Failure(
        title=f"Internal error {type(error).__name__}{place} while {doing}",
        hint="This is a bug in livesync-tui, please report it; nothing is lost, run it again",
    )


class EngineError(Exception):
    """Base of every error the engine raises on purpose; carries a :class:`Failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence())
        self.failure = failure


class UsageError(EngineError):
    """The input itself is malformed: a connection string, a ``--table-map``, a subscription name."""


class BlockedError(EngineError):
    """A precondition does not hold: wal_level, a right, a free slot, a missing table, a second engine."""


class ConnectionFailedError(EngineError):
    """A server cannot be reached, refuses the login, or went away; usually worth another try."""


class TableError(EngineError):
    """One table cannot go on; the others can."""


class SubscriptionBrokenError(EngineError):
    """The subscription as a whole cannot go on: its slot, its state or its source is gone."""
