"""What the step Roles needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.errors import Failure
from engine.roles.planned import RolePlan


class RoleServices(Protocol):
    """The roles of both sides."""

    def plan(self) -> RolePlan | Failure:
        """Compare the roles of both sides; roles that a person left out are left out (blocking)."""
