"""What the migration left on both servers, and its removal."""

from __future__ import annotations

from psycopg import sql

from engine.catalog.identity_change import preview_undo
from engine.catalog.publication_undo import plan_publication_undo
from engine.catalog.table import quote_identifier
from engine.connection.session import open_session
from engine.errors import Failure, Side
from engine.privileges.stepping_back import plan_stepping_back
from engine.replication.drop import drop_subscription
from engine.replication.slots import list_slots
from engine.script.planned import Outcome, ScriptStatement, StatementResult
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import raised, returns_failure
from livesync_tui.step_services.identity import put_back_identities, undo_statement
from livesync_tui.step_services.publication import take_back_publications
from livesync_tui.step_services.scripts import ScriptSteps
from livesync_tui.step_services.user import UserSteps
from livesync_tui.transcript import Executed
from screens.step_services.cleanup import CleanupOutcome, CleanupPlan


class CleanupSteps:
    """Implements :class:`screens.step_services.cleanup.CleanupServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context
        self._scripts = ScriptSteps(context)
        self._user = UserSteps(context)

    @returns_failure("looking at what is left to clean up")
    def plan(self) -> CleanupPlan:
        migration = self._context.migration
        with open_session(self._context.source, "what is left") as source:
            publications = plan_publication_undo(source, migration.publications)
            gone = [record.name for record in migration.publications if record.is_ours]
            identities = preview_undo(source, migration.identities, without=gone)
            slots = tuple(sorted(list_slots(source, migration.subscription)))
            with open_session(self._context.target, "what is left") as target:
                on_target = plan_stepping_back(source, target).to_run
        return CleanupPlan(
            slots,
            (*publications, *map(undo_statement, identities)),
            on_target,
            self._removal_of_the_role(),
        )

    @returns_failure("cleaning up both servers")
    def run(self) -> CleanupOutcome:
        context = self._context
        context.require_writing()
        # The slot first: it is what fills the source's disk, and while an engine runs nothing is taken away.
        dropped = drop_subscription(context.source, context.target, context.migration.subscription)
        context.transcribe(
            Side.SOURCE,
            [
                Executed(f"select pg_catalog.pg_drop_replication_slot('{slot}')", 0.0, "applied")
                for slot in dropped.slots
            ],
        )
        if dropped.not_put_back:
            context.transcribe(
                Side.SOURCE,
                [Executed(one.sql, one.seconds, "refused", one.said) for one in dropped.not_put_back],
            )
        publications = take_back_publications(context)
        with open_session(context.source, "cleanup") as source:
            identities = put_back_identities(context, source)
            with open_session(context.target, "cleanup") as target:
                stepping_back = plan_stepping_back(source, target)
        results = [*dropped.not_put_back, *publications, *identities]
        results += raised(self._scripts.run_now(Side.TARGET, stepping_back)).results
        # Last: until here its rights are needed.
        results += self._remove_the_role()
        return CleanupOutcome(dropped.slots, dropped.had_state, tuple(results))

    def _removal_of_the_role(self) -> tuple[ScriptStatement, ...]:
        created = self._context.migration.created_user
        if created is None:
            return ()
        removal = self._user.plan_removal()
        if isinstance(removal, Failure):
            drop = sql.SQL("drop role {}").format(sql.Identifier(created.name)).as_string()
            return (ScriptStatement(f"role {quote_identifier(created.name)}", drop, removal.sentence()),)
        return removal.to_run

    def _remove_the_role(self) -> tuple[StatementResult, ...]:
        created = self._context.migration.created_user
        if created is None:
            return ()
        removal = self._user.plan_removal()
        removed = removal if isinstance(removal, Failure) else self._user.remove(removal)
        if isinstance(removed, Failure):
            about = f"role {quote_identifier(created.name)}"
            return (StatementResult(about, "", Outcome.REFUSED, removed.sentence(), removed.sqlstate),)
        return removed.results
