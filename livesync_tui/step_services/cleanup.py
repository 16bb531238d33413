"""What the migration left on both servers, and its removal."""

from __future__ import annotations

from engine.catalog.identity_change import preview_undo
from engine.catalog.publication_undo import plan_publication_undo
from engine.connection.session import open_session
from engine.errors import Side
from engine.replication.drop import drop_subscription
from engine.replication.slots import list_slots
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.step_services.identity import put_back_identities, undo_statement
from livesync_tui.step_services.publication import take_back_publications
from livesync_tui.transcript import Executed
from screens.step_services.cleanup import CleanupOutcome, CleanupPlan


class CleanupSteps:
    """Implements :class:`screens.step_services.cleanup.CleanupServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("looking at what is left to clean up")
    def plan(self) -> CleanupPlan:
        migration = self._context.migration
        with open_session(self._context.source, "what is left") as source:
            publications = plan_publication_undo(source, migration.publications)
            gone = [record.name for record in migration.publications if record.is_ours]
            identities = preview_undo(source, migration.identities, without=gone)
            return CleanupPlan(
                tuple(sorted(list_slots(source, migration.subscription))),
                (*publications, *map(undo_statement, identities)),
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
        publications = take_back_publications(context)
        with open_session(context.source, "cleanup") as source:
            identities = put_back_identities(context, source)
        return CleanupOutcome(dropped.slots, dropped.had_state, (*publications, *identities))
