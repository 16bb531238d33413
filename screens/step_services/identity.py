"""What the step Identity needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.catalog.planned_identity import IdentityPlan
from engine.errors import Failure
from engine.script.planned import Script, ScriptResult

FILE_NAME = "replica_identity.sql"


class IdentityServices(Protocol):
    """Replica identities of the chosen tables."""

    def plan(self) -> IdentityPlan | Failure:
        """What the chosen tables lack (blocking)."""

    def apply(self) -> ScriptResult | Failure:
        """Run what is in the generated file, one by one, and remember what was there before (blocking)."""

    def plan_undo(self) -> Script | Failure:
        """What would put back what was there before; what stays is set apart (blocking)."""

    def undo(self) -> ScriptResult | Failure:
        """Put back what was there before, as far as that is possible now (blocking)."""
