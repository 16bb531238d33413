"""Roles of the source for the target."""

from __future__ import annotations

from engine.connection.session import open_session
from engine.roles.plan import plan_roles
from engine.roles.planned import RolePlan
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure


class RoleSteps:
    """Implements :class:`screens.step_services.roles.RoleServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("comparing the roles")
    def plan(self) -> RolePlan:
        with (
            open_session(self._context.source, "roles") as source,
            open_session(self._context.target, "roles") as target,
        ):
            return plan_roles(source, target, self._context.role_filter(source, target))
