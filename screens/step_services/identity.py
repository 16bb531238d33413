"""What the step Identity needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.catalog.planned_identity import IdentityPlan
from engine.errors import Failure


class IdentityServices(Protocol):
    """Replica identities of the chosen tables."""

    def plan(self) -> IdentityPlan | Failure:
        """What the chosen tables lack (blocking)."""
