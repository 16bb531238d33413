"""The migration's own role on the source."""

from __future__ import annotations

from engine.connection.session import open_session
from engine.roles.migration_role import MigrationRoleWishes, MigrationUserPlan
from engine.roles.migration_user import plan_migration_user
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure


class UserSteps:
    """Implements :class:`screens.step_services.user.UserServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("looking at the migration's role")
    def plan(self, name: str) -> MigrationUserPlan:
        with open_session(self._context.source, "migration role") as source:
            return plan_migration_user(source, MigrationRoleWishes(name))
