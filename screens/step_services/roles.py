"""What the step Roles needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.errors import Failure
from engine.roles.planned import RolePlan
from engine.script.planned import Script, ScriptResult


class RoleServices(Protocol):
    """The roles of both sides."""

    def plan(self) -> RolePlan | Failure:
        """Compare the roles of both sides; roles that a person left out are left out (blocking)."""

    def run(self, planned: RolePlan) -> ScriptResult | Failure:
        """Run the plan's file as it is now (blocking). Remembers the roles that it made."""

    def plan_removal(self) -> Script | Failure:
        """What drops the roles that were made here (blocking)."""

    def remove(self, script: Script) -> ScriptResult | Failure:
        """Run that (blocking). What is left is still remembered."""
