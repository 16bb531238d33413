"""What the step Done needs from outside to clean up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.errors import Failure
from engine.script.planned import Outcome, ScriptStatement, StatementResult


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What would be done, in this order."""

    slots: tuple[str, ...]
    """Replication slots on the source."""

    statements: tuple[ScriptStatement, ...]
    """On the source: publications, then replica identities; what stays is set apart."""

    on_target: tuple[ScriptStatement, ...] = ()
    """On the target: memberships that were needed to work for the owners."""

    of_the_role: tuple[ScriptStatement, ...] = ()
    """On the source, as the role of the first connection: the migration's own role, last of all; set apart
    where that connection cannot be had."""


@dataclass(frozen=True, slots=True)
class CleanupOutcome:
    """What was done."""

    slots: tuple[str, ...]
    had_state: bool
    results: tuple[StatementResult, ...]

    @property
    def refused(self) -> tuple[StatementResult, ...]:
        return tuple(result for result in self.results if result.outcome is Outcome.REFUSED)


class CleanupServices(Protocol):
    """What the migration left on both servers."""

    def plan(self) -> CleanupPlan | Failure:
        """What there is to clean up (blocking)."""

    def run(self) -> CleanupOutcome | Failure:
        """Do what is planned, in order; what is refused does not keep the rest from being done (blocking)."""
