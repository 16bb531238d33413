"""What the step Rights needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.errors import Failure
from engine.script.planned import Script


class RightsServices(Protocol):
    """Owners, privileges and settings of both sides."""

    def plan(self) -> tuple[Script, ...] | Failure:
        """What the target lacks: owners and privileges first, then settings (blocking)."""
