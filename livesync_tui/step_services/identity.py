"""Replica identities of the chosen tables."""

from __future__ import annotations

from engine.catalog.planned_identity import IdentityPlan
from engine.catalog.replica_identity import plan_identities
from engine.connection.session import open_session
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure


class IdentitySteps:
    """Implements :class:`screens.step_services.identity.IdentityServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("looking at the replica identities")
    def plan(self) -> IdentityPlan:
        with open_session(self._context.source, "replica identities") as source:
            return plan_identities(source, self._context.migration.tables)
