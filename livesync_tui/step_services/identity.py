"""Replica identities of the chosen tables."""

from __future__ import annotations

from collections.abc import Iterable

from engine.catalog.guarded_script import LockedTables, run_guarded_script
from engine.catalog.identity_change import (
    apply_identities,
    changed_identities,
    preview_undo,
    read_identity_settings,
    undo_identities,
)
from engine.catalog.planned_identity import (
    IdentityOutcome,
    IdentityPlan,
    IdentityRecord,
    IdentityResult,
    IdentityUndo,
    remember,
)
from engine.catalog.replica_identity import plan_identities
from engine.catalog.table import TableName
from engine.connection.session import Session, open_session
from engine.errors import Failure, Side
from engine.script.masking import reveal
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement, StatementResult
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.transcript import executed
from screens.generated import GeneratedFile
from screens.step_services.identity import FILE_NAME

_OUTCOMES = {
    IdentityOutcome.APPLIED: Outcome.APPLIED,
    IdentityOutcome.ALREADY_THERE: Outcome.ALREADY_THERE,
    IdentityOutcome.LEFT: Outcome.REFUSED,
    IdentityOutcome.REFUSED: Outcome.REFUSED,
}
_NOT_NEEDED = "It is set already, or the table is gone"


class IdentitySteps:
    """Implements :class:`screens.step_services.identity.IdentityServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("looking at the replica identities")
    def plan(self) -> IdentityPlan:
        with open_session(self._context.source, "replica identities") as source:
            return plan_identities(source, self._context.migration.tables)

    @returns_failure("setting replica identities")
    def apply(self) -> ScriptResult:
        self._context.require_writing()
        file = self._context.files.read(FILE_NAME)
        if file.is_edited:
            return self._apply_edited()
        return self._apply_planned(file)

    def _apply_planned(self, file: GeneratedFile) -> ScriptResult:
        results: list[StatementResult] = []
        applied: set[TableName] = set()
        known = self._context.migration.identities

        def told(result: IdentityResult) -> None:
            results.append(statement_result(result, abouts[result.sql]))
            if result.outcome is IdentityOutcome.APPLIED:
                applied.add(result.relation)

        try:
            with open_session(self._context.source, "replica identities") as source:
                proposals = {
                    proposal.sql: proposal
                    for proposal in plan_identities(source, self._context.migration.tables).proposals
                }
                chosen = [proposals[one.sql] for one in file.statements if one.sql in proposals]
                self._remember(known, [proposal.record for proposal in chosen])
                abouts = {proposal.sql: proposal.about for proposal in chosen}
                apply_identities(source, chosen, on_result=told)
                # What was refused is not ours to put back, should somebody else set it later.
                done = [one.record for one in chosen if one.relation in applied]
                self._remember(known, done)
        finally:
            self._context.transcribe(Side.SOURCE, executed(results))
        results += [
            StatementResult(one.about, one.sql, Outcome.ALREADY_THERE, _NOT_NEEDED)
            for one in file.statements
            if one.sql not in proposals
        ]
        return ScriptResult(tuple(results))

    def _apply_edited(self) -> ScriptResult:
        context = self._context
        _, text, secrets = context.files.to_run(FILE_NAME)
        known = context.migration.identities
        with open_session(context.source, "replica identities") as source:
            plan = plan_identities(source, context.migration.tables)
            before = read_identity_settings(source)
            # What a person made of it is seen only afterwards; most of it is what was proposed.
            self._remember(known, [proposal.record for proposal in plan.proposals])
        locked = LockedTables(
            True,
            {proposal.about: (proposal.relation,) for proposal in plan.proposals},
            context.migration.tables,
        )
        try:
            with open_session(context.source, "replica identities") as source:
                result = run_guarded_script(source, reveal(text, secrets), locked)
        finally:
            with open_session(context.source, "replica identities") as source:
                after = read_identity_settings(source)
                self._remember(known, changed_identities(source, before, after))
        context.transcribe(Side.SOURCE, executed(result.results))
        return result

    def _remember(self, known: Iterable[IdentityRecord], changed: Iterable[IdentityRecord]) -> None:
        self._context.remember(identities=remember(known, changed))

    @returns_failure("looking at what can be put back")
    def plan_undo(self) -> Script:
        with open_session(self._context.source, "replica identities") as source:
            undos = preview_undo(source, self._context.migration.identities)
        return Script(
            FILE_NAME, "Replica identities as they were", tuple(undo_statement(undo) for undo in undos)
        )

    @returns_failure("putting replica identities back")
    def undo(self) -> ScriptResult:
        self._context.require_writing()
        with open_session(self._context.source, "replica identities") as source:
            return ScriptResult(put_back_identities(self._context, source))


def put_back_identities(context: MigrationContext, source: Session) -> tuple[StatementResult, ...]:
    """Put back what was there before, and forget what is back.

    Raises:
        EngineError: The source was lost, or what is left to do could not be written down.
    """
    results: list[IdentityResult] = []
    records = context.migration.identities
    try:
        undo_identities(source, records, on_result=results.append)
    finally:
        done = (IdentityOutcome.APPLIED, IdentityOutcome.ALREADY_THERE)
        # Results come in the order of the last change first.
        left = [
            record
            for record, result in zip(reversed(records), results, strict=False)
            if result.outcome not in done
        ]
        untried = records[: len(records) - len(results)]
        told = tuple(statement_result(result, str(result.relation)) for result in results)
        context.transcribe(Side.SOURCE, executed(told))
        context.remember(identities=(*untried, *reversed(left)))
    return tuple(result for result in told if result.outcome is not Outcome.ALREADY_THERE)


def undo_statement(undo: IdentityUndo) -> ScriptStatement:
    """What puts an identity back, for a script."""
    return ScriptStatement(str(undo.relation), undo.sql, "" if undo.left is None else undo.left.sentence())


def statement_result(result: IdentityResult, about: str) -> StatementResult:
    """A result as those of scripts are."""
    failure = result.failure
    return StatementResult(
        about,
        result.sql,
        _OUTCOMES[result.outcome],
        "" if failure is None else _said(failure),
        None if failure is None else failure.sqlstate,
        result.seconds,
    )


def _said(failure: Failure) -> str:
    return ". ".join(part for part in (failure.detail or failure.title, failure.hint) if part)
