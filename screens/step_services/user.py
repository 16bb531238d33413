"""What the step User needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.errors import Failure
from engine.roles.migration_role import MigrationUserPlan


class UserServices(Protocol):
    """The migration's own role on the source."""

    def plan(self, name: str) -> MigrationUserPlan | Failure:
        """What the role of that name lacks (blocking)."""
