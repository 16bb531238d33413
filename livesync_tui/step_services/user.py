"""The migration's own role on the source."""

from __future__ import annotations

from engine.checks.finding import Finding, Verdict
from engine.connection.secret import Secret
from engine.connection.session import open_session
from engine.errors import BlockedError, Failure, Retry, Side
from engine.roles.migration_check import check_migration_user
from engine.roles.migration_role import MigrationUserPlan
from engine.roles.migration_user import (
    generate_password,
    logged_in_as,
    plan_migration_user,
    plan_removal,
    wishes_for,
)
from engine.roles.removal import read_created
from engine.script.masking import reveal
from engine.script.planned import Outcome, Script, ScriptResult
from livesync_tui.migration_context import MigrationContext, harmless_conninfo
from livesync_tui.service_failure import returns_failure
from livesync_tui.step_services.scripts import run_transcribed


class UserSteps:
    """Implements :class:`screens.step_services.user.UserServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("looking at the migration's role")
    def plan(self, name: str, *, new_password: bool = False) -> MigrationUserPlan:
        context = self._context
        with open_session(context.source_admin, "migration role") as source:
            wishes = wishes_for(source, context.provider(source, Side.SOURCE), name)
            return plan_migration_user(source, wishes, generate_password() if new_password else None)

    @returns_failure("making the migration's role")
    def run(self, planned: MigrationUserPlan) -> ScriptResult:
        context, script = self._context, planned.script
        endpoint = context.source_admin
        _, text, secrets = context.files.to_run(script.file_name)
        result = run_transcribed(context, endpoint, reveal(text, secrets))
        applied = {one.about for one in result.results if one.outcome is Outcome.APPLIED}
        hidden = tuple(script.secrets)
        sets_password = {one.about for one in script.statements if any(name in one.sql for name in hidden)}
        if planned.password is not None and applied & sets_password:
            context.role_passwords[planned.name] = planned.password
            if context.migration.migration_user == planned.name:
                context.endpoints[Side.SOURCE] = logged_in_as(endpoint, planned.name, planned.password)
            if not planned.already_there:
                with open_session(endpoint, "migration role") as source:
                    (created,) = read_created(source, Side.SOURCE, [planned.name])
                context.remember(created_user=created)
        return result

    def password_file_line(self, name: str) -> Secret | None:
        password = self._context.role_passwords.get(name)
        if password is None:
            return None
        where = self._context.source_admin.summary()
        parts = (where.host, where.port, where.database, name, password.reveal())
        return Secret(":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in parts))

    def give_first_password(self, password: str) -> None:
        context = self._context
        if context.first_source is not None:
            context.first_source = context.first_source.with_password(password)

    @returns_failure("logging in as the migration's role")
    def use(self, name: str, password: str | None = None) -> tuple[Finding, ...]:
        context = self._context
        context.require_writing()
        first = context.source_admin
        known = Secret(password) if password else context.role_passwords.get(name)
        endpoint = logged_in_as(first, name, known)
        findings = check_migration_user(endpoint)
        if all(finding.verdict is not Verdict.BLOCKS for finding in findings):
            if known is not None:
                context.role_passwords[name] = known
            context.first_source = first
            context.endpoints[Side.SOURCE] = endpoint
            context.remember(
                migration_user=name,
                first_source_conninfo=harmless_conninfo(first),
                source_conninfo=harmless_conninfo(endpoint),
            )
        return findings

    @returns_failure("looking at the migration's role")
    def plan_removal(self) -> Script:
        context = self._context
        created = context.migration.created_user
        if created is None:
            raise BlockedError(
                Failure(
                    "This migration has made no role on the source",
                    hint="A role that somebody else made is not taken away here",
                    side=Side.SOURCE,
                    retry=Retry.NEVER,
                )
            )
        with open_session(context.source_admin, "migration role") as source:
            if read_created(source, Side.SOURCE, [created.name]) != (created,):
                return Script("", f"There is no role {created.name} of ours", ())
            return plan_removal(source, created.name)

    @returns_failure("taking the migration's role away")
    def remove(self, script: Script) -> ScriptResult:
        context = self._context
        first, created = context.source_admin, context.migration.created_user
        result = run_transcribed(context, first, script.text())
        assert created is not None  # There was something to remove.
        with open_session(first, "migration role") as source:
            is_gone = not read_created(source, Side.SOURCE, [created.name])
        if context.migration.migration_user == created.name:
            # Even where the role itself stays, what it was granted is gone.
            context.endpoints[Side.SOURCE] = first
            context.first_source = None
            context.remember(
                migration_user="", first_source_conninfo="", source_conninfo=harmless_conninfo(first)
            )
        if is_gone:
            context.role_passwords.pop(created.name, None)
            context.remember(created_user=None)
        return result
