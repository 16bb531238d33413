"""Roles of the source for the target."""

from __future__ import annotations

from engine.connection.session import open_session
from engine.errors import Side
from engine.roles.plan import plan_roles
from engine.roles.planned import RolePlan
from engine.roles.removal import plan_role_removal, read_created
from engine.script.masking import reveal
from engine.script.planned import Outcome, Script, ScriptResult
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.step_services.scripts import run_transcribed


class RoleSteps:
    """Implements :class:`screens.step_services.roles.RoleServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("comparing the roles")
    def plan(self) -> RolePlan:
        first = self._context.first_source
        # The role of the first connection may read passwords that the migration's own may not.
        reader = self._context.source if first is None or first.password is None else first
        with (
            open_session(reader, "roles") as source,
            open_session(self._context.target, "roles") as target,
        ):
            return plan_roles(source, target, self._context.role_filter(source, target))

    @returns_failure("making the roles")
    def run(self, planned: RolePlan) -> ScriptResult:
        context = self._context
        _, text, secrets = context.files.to_run(planned.script.file_name)
        result = run_transcribed(context, context.target, reveal(text, secrets))
        applied = {one.about for one in result.results if one.outcome is Outcome.APPLIED}
        made = [name for about, name in planned.creations if about in applied]
        if made:
            with open_session(context.target, "roles") as target:
                created = read_created(target, Side.TARGET, made)
            context.remember(created_roles=(*context.migration.created_roles, *created))
        return result

    @returns_failure("looking at the roles that were made")
    def plan_removal(self) -> Script:
        with open_session(self._context.target, "roles") as target:
            return plan_role_removal(target, self._context.migration.created_roles)

    @returns_failure("taking roles away")
    def remove(self, script: Script) -> ScriptResult:
        context = self._context
        result = run_transcribed(context, context.target, script.text())
        created = context.migration.created_roles
        with open_session(context.target, "roles") as target:
            left = read_created(target, Side.TARGET, [role.name for role in created])
        context.remember(created_roles=tuple(role for role in created if role in left))
        return result
