"""Replica identities without a server."""

from __future__ import annotations

from dataclasses import dataclass

from engine.catalog.planned_identity import IdentityPlan
from engine.errors import Failure

NOTHING_MISSING = IdentityPlan(())


@dataclass
class FakeIdentity:
    """IdentityServices for tests."""

    planned: IdentityPlan | Failure = NOTHING_MISSING

    def plan(self) -> IdentityPlan | Failure:
        return self.planned
