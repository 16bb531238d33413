"""Owners, privileges and settings of the source for the target."""

from __future__ import annotations

from engine.connection.session import open_session
from engine.privileges.plan import plan_privileges
from engine.script.planned import Script
from engine.settings.database_settings import plan_settings
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure


class RightsSteps:
    """Implements :class:`screens.step_services.rights.RightsServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("comparing owners, privileges and settings")
    def plan(self) -> tuple[Script, ...]:
        with (
            open_session(self._context.source, "privileges") as source,
            open_session(self._context.target, "privileges") as target,
        ):
            chosen = self._context.role_filter(source, target)
            # The migration's own role is nobody's on the target.
            ours = [self._context.migration.migration_user]
            return plan_privileges(source, target, not_told=ours), plan_settings(source, target, chosen)
