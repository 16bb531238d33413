"""What the source publishes."""

from __future__ import annotations

from collections.abc import Iterable

from engine.catalog.guarded_script import LockedTables, run_guarded_script
from engine.catalog.planned import PublicationOffers, PublicationPlan, PublicationReview
from engine.catalog.publication_offer import offer_publications, read_other_slots
from engine.catalog.publication_plan import plan_publication
from engine.catalog.publication_record import PublicationRecord, remember_publications
from engine.catalog.publication_schemas import schemas_chosen_whole
from engine.catalog.publication_undo import (
    changed_publications,
    plan_publication_undo,
    read_publication_states,
    still_changed,
)
from engine.connection.session import Session, open_session
from engine.errors import Side
from engine.script.masking import reveal
from engine.script.planned import Script, ScriptResult, StatementResult
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.transcript import executed
from screens.step_services.publication import FILE_NAME


class PublicationSteps:
    """Implements :class:`screens.step_services.publication.PublicationServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context
        self._planned: PublicationPlan | None = None

    @returns_failure("reading the source's publications")
    def offers(self) -> PublicationOffers:
        with open_session(self._context.source, "publication offers") as source:
            return offer_publications(source, self._context.migration.tables)

    @returns_failure("comparing with the source's publication")
    def plan(self) -> PublicationReview:
        migration = self._context.migration
        self._planned = None
        with open_session(self._context.source, "publication plan") as source:
            schemas = (
                schemas_chosen_whole(source, migration.tables) if migration.publishes_whole_schemas else ()
            )
            self._planned = plan_publication(
                source,
                migration.publication,
                migration.tables,
                schemas=schemas,
                with_updates=migration.publishes_updates,
                # In a dry run nothing was applied; the whole script has the identities first.
                identities_come_first=self._context.dry_run,
            )
            return PublicationReview(
                self._planned,
                schemas,
                migration.publishes_whole_schemas,
                not migration.publishes_updates,
                read_other_slots(source),
            )

    @returns_failure("changing what the source publishes")
    def apply(self) -> ScriptResult:
        context = self._context
        context.require_writing()
        _, text, secrets = context.files.to_run(FILE_NAME)
        plan, name = self._planned, context.migration.publication
        locked = LockedTables(
            False,
            {} if plan is None else {one.why: one.locks for one in plan.statements},
            context.migration.tables,
        )
        known = context.migration.publications
        with open_session(context.source, "publication") as source:
            before = read_publication_states(source)
        self._remember(known, [PublicationRecord(name, before.get(name), None)])
        try:
            with open_session(context.source, "publication") as source:
                result = run_guarded_script(source, reveal(text, secrets), locked)
        finally:
            # Without an answer the record of before stays, whatever came of it.
            with open_session(context.source, "publication") as source:
                changed = changed_publications(before, read_publication_states(source))
            # Somebody else may have worked on another one meanwhile.
            self._remember(known, [record for record in changed if _is_named(record.name, text)])
        context.transcribe(Side.SOURCE, executed(result.results))
        return result

    def _remember(self, known: Iterable[PublicationRecord], changed: Iterable[PublicationRecord]) -> None:
        self._context.remember(publications=remember_publications(known, changed))

    @returns_failure("looking at what can be taken back")
    def plan_undo(self) -> Script:
        with open_session(self._context.source, "publication") as source:
            statements = plan_publication_undo(source, self._context.migration.publications)
        return Script(FILE_NAME, "Publications as they were", statements)

    @returns_failure("taking back what was published")
    def undo(self) -> ScriptResult:
        self._context.require_writing()
        return ScriptResult(take_back_publications(self._context))


def take_back_publications(context: MigrationContext) -> tuple[StatementResult, ...]:
    """Drop the publications that were made, give the others back what they had, and forget what is back.

    Raises:
        EngineError: The source was lost, or what is left to do could not be written down.
    """
    with open_session(context.source, "publication") as source:
        statements = plan_publication_undo(source, context.migration.publications)
    script = Script(FILE_NAME, "Publications as they were", statements)
    with open_session(context.source, "publication") as source:
        results = run_guarded_script(source, script.text(), _locked(context)).results
    context.transcribe(Side.SOURCE, executed(results))
    with open_session(context.source, "publication") as source:
        _forget_what_is_back(context, source)
    return results


def _is_named(publication: str, text: str) -> bool:
    """Whether a script names a publication, quoted or not."""
    written = publication.replace('"', '""')
    return written in text or written in text.lower()


def _locked(context: MigrationContext) -> LockedTables:
    return LockedTables(False, otherwise=context.migration.tables)


def _forget_what_is_back(context: MigrationContext, source: Session) -> None:
    context.remember(publications=still_changed(source, context.migration.publications))
