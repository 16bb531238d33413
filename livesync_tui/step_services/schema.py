"""The schemas of both sides: compared, brought to the target, and dropped there."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.catalog.tables import missing_tables
from engine.checks.columns import column_risks
from engine.connection.secret import Secret
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Failure, Side, UsageError
from engine.replication.deferred_state import DeferredStore, waiting_objects
from engine.replication.missing_schema import PutOff, restore_edited, restore_missing, waiting_keys
from engine.replication.schema_restore import bring_schema
from engine.replication.state import StateStore
from engine.schema.compare import ComparedSchemas, compare_schemas, is_about_an_extension
from engine.schema.comparison import (
    Applied,
    AppliedStatement,
    ApplyReport,
    ExtensionState,
    ObjectKey,
    PlannedExtension,
    PlannedStatement,
    Presence,
    SchemaComparison,
)
from engine.schema.drop import drop_objects
from engine.schema.edited import drops_in
from engine.schema.extensions import create_extensions, extension_statements, plan_extensions
from engine.script.masking import mask, reveal
from engine.script.planned import Outcome, Script, ScriptStatement, one_line
from engine.timescaledb.made import read_made, sort_entries
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.transcript import Executed
from screens.generated import GeneratedFile
from screens.step_services.schema import OnResult, SchemaLook, ScriptToRun

FILE_NAME = "schema_dump.sql"

_TITLE = "What the target lacks of the source's schema, in an order that works"

_PASSWORD = "password"
"""No other statement of a schema holds one; most need not be looked through."""

_IN_THE_TRANSCRIPT = {
    Applied.DONE: Outcome.APPLIED,
    Applied.IDENTICAL: Outcome.ALREADY_THERE,
    Applied.EXISTS: Outcome.ALREADY_THERE,
    Applied.REFUSED: Outcome.REFUSED,
    Applied.UNDONE: Outcome.REFUSED,
}


@dataclass(frozen=True, slots=True)
class _Known:
    """What the last comparison found."""

    compared: ComparedSchemas
    left: ComparedSchemas
    """The same without what is recorded to be built later."""

    extensions: tuple[PlannedExtension, ...]
    script: Script


class SchemaSteps:
    """Implements :class:`screens.step_services.schema.SchemaServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context
        self._known: _Known | None = None
        self._made: list[ObjectKey] = []
        self._has_hypertables = False

    @returns_failure("comparing both schemas")
    def look(self, *, over_edited: bool = False) -> SchemaLook:
        context = self._context
        self._known = None
        with (
            open_session(context.source, "schema") as source,
            open_session(context.target, "schema") as target,
        ):
            tables = context.migration.tables
            targets = list(dict.fromkeys(map(context.table_map.target_of, tables)))
            same_names = [name for name in tables if context.table_map.target_of(name) == name]
            waiting = waiting_objects(target)
            own = [one for one in waiting if one.subscription == context.migration.subscription]
            look = SchemaLook(
                missing_tables(target, targets),
                next(iter((*own, *waiting)), None),
                tuple(risk for risks in column_risks(source, target, same_names).values() for risk in risks),
            )
            subscription = look.waiting.subscription if look.waiting else context.migration.subscription
            try:
                extensions, compared = self._compare(source, target)
                built_later = waiting_keys(target, subscription, compared)
            except EngineError as error:
                # The tables may be there without our doing, and pg_dump not.
                return replace(look, problem=error.failure)
        left = replace(
            compared,
            missing_post_data=tuple(
                (entry, planned)
                for entry, planned in compared.missing_post_data
                if planned.key not in built_later
            ),
        )
        self._known = _Known(compared, left, extensions, _script(extensions, left))
        file: GeneratedFile | None = None
        unreadable: Failure | None = None
        try:
            file = context.files.write(Side.TARGET, self._known.script, over_edited=over_edited)
        except UsageError as error:
            unreadable = error.failure
        return replace(
            look,
            comparison=_to_show(compared.comparison),
            extensions=extensions,
            waiting_keys=built_later,
            file=file,
            unreadable=unreadable,
            pg_dump=compared.source.pg_dump,
        )

    def _compare(
        self, source: Session, target: Session
    ) -> tuple[tuple[PlannedExtension, ...], ComparedSchemas]:
        context = self._context
        left_out = [
            context.provider(session, side).leave_out
            for session, side in ((source, Side.SOURCE), (target, Side.TARGET))
        ]
        extensions = plan_extensions(source, target, [name for one in left_out for name in one.extensions])
        schemas = {name for one in left_out for name in one.schemas}
        made = {Side.SOURCE: read_made(source, Side.SOURCE), Side.TARGET: read_made(target, Side.TARGET)}
        self._has_hypertables = bool(made[Side.SOURCE].hypertables)
        compared = compare_schemas(
            context.source,
            source,
            context.target,
            target,
            own_identities=context.migration.identities,
            sort_source=partial(sort_entries, made=made[Side.SOURCE]),
            sort_target=partial(sort_entries, made=made[Side.TARGET]),
            left_out_schemas=sorted(schemas),
        )
        return extensions, compared

    def _compared(self) -> _Known:
        if self._known is None:
            raise UsageError(Failure("Both schemas have not been compared", hint="Press r to compare them"))
        return self._known

    @property
    def script_path(self) -> Path | None:
        return None if self._known is None else self._context.folder / FILE_NAME

    @returns_failure("reading the script")
    def read(self) -> ScriptToRun:
        file = self._context.files.write(Side.TARGET, self._compared().script, over_edited=False)
        return ScriptToRun(file, drops_in(file.text) if file.is_edited else ())

    @returns_failure("bringing the schema")
    def apply(self, *, tables_first: bool, may_drop: Collection[str], on_result: OnResult) -> ApplyReport:
        context = self._context
        context.require_writing()
        known = self._compared()
        script = self.read()
        if isinstance(script, Failure):
            raise UsageError(script)
        with self._written_down(on_result) as heard, ExitStack() as sessions:
            sessions.callback(self._remember_made, heard)
            put_off = None
            if tables_first:
                put_off = PutOff(
                    context.migration.subscription,
                    sessions.enter_context(open_session(context.source, "schema")),
                    sessions.enter_context(open_session(context.target, "schema lock")),
                )
            if script.file.is_edited:
                _, text, secrets = context.files.to_run(FILE_NAME)
                restore_edited(
                    context.target,
                    reveal(text, secrets),
                    known.compared,
                    put_off=put_off,
                    may_drop=may_drop,
                    on_result=heard,
                )
            elif put_off is not None and self._has_hypertables and not _has_tables(known.compared):
                create_extensions(context.target, known.extensions, heard)
                self._bring_hypertables(put_off, heard)
            else:
                create_extensions(context.target, known.extensions, heard)
                restore_missing(
                    context.target, known.left, put_off=put_off, all_or_nothing=False, on_result=heard
                )
            return ApplyReport(tuple(heard.heard))

    def _bring_hypertables(self, put_off: PutOff, heard: _Results) -> None:
        """Restore a schema with hypertables, all or nothing; they are made between tables and keys."""
        context = self._context
        state = StateStore(put_off.target, put_off.subscription)
        began = time.monotonic()
        brought = bring_schema(context.source, context.target, put_off.subscription, put_off.source, state)
        if not brought.outcome.applied:
            raise EngineError(
                Failure(
                    "The schema with its hypertables was refused; nothing of it stays on the target",
                    brought.outcome.error,
                    "Mend that and try again, or make everything at once and the hypertables by hand",
                    side=Side.TARGET,
                )
            )
        notes = [f"{brought.waiting} objects wait for the rows", *brought.notes]
        planned = PlannedStatement(
            "schema with hypertables, in one transaction", "\n".join(f"-- {one_line(note)}" for note in notes)
        )
        heard(AppliedStatement(planned, Applied.DONE, time.monotonic() - began))

    def _remember_made(self, results: _Results) -> None:
        self._made = list(dict.fromkeys((*self._made, *results.made)))

    @returns_failure("dropping an object")
    def drop(self, key: ObjectKey) -> ApplyReport:
        self._context.require_writing()
        known = self._compared()
        with self._written_down(_nobody) as heard:
            return drop_objects(self._context.target, known.compared, (key,), on_result=heard)

    @property
    def made_count(self) -> int:
        return len(self._made)

    @returns_failure("undoing what was made")
    def undo(self, on_result: OnResult) -> ApplyReport:
        context = self._context
        context.require_writing()
        with (
            open_session(context.source, "schema") as source,
            open_session(context.target, "schema") as target,
        ):
            _, compared = self._compare(source, target)
            DeferredStore(target, context.migration.subscription).forget()
        there = [key for key in self._made if key in compared.target_objects]
        with self._written_down(on_result) as heard:
            report = drop_objects(context.target, compared, there, all_or_nothing=False, on_result=heard)
        refused = {result.planned.key for result in report.refused}
        self._made = [key for key in there if key in refused]
        return report

    @contextmanager
    def _written_down(self, on_result: OnResult) -> Iterator[_Results]:
        """Collects results, tells them, and writes them into the transcript, come what may."""
        results = _Results(on_result)
        ended_by: Failure | None = None
        try:
            yield results
        except EngineError as error:
            ended_by = error.failure
            raise
        finally:
            self._context.transcribe(Side.TARGET, [_executed(result, ended_by) for result in results.heard])


def _has_tables(compared: ComparedSchemas) -> bool:
    """Whether the target has any of the source's tables."""
    return any(
        one.key.kind == "TABLE" and one.presence in (Presence.IDENTICAL, Presence.DIFFERENT)
        for one in compared.comparison.objects
    )


def _nobody(_: AppliedStatement) -> None:
    pass


class _Results:
    """Takes results as they come."""

    def __init__(self, on_result: OnResult) -> None:
        self.heard: list[AppliedStatement] = []
        self._on_result = on_result

    def __call__(self, result: AppliedStatement) -> None:
        self.heard.append(result)
        self._on_result(result)

    @property
    def made(self) -> Iterator[ObjectKey]:
        """Objects of the source that are on the target now."""
        return (
            result.planned.key
            for result in self.heard
            if result.outcome is Applied.DONE and result.planned.key is not None
        )


def _executed(result: AppliedStatement, ended_by: Failure | None) -> Executed:
    """A result for the transcript; what ended the work before its end may have undone it."""
    outcome = _IN_THE_TRANSCRIPT[result.outcome].value
    said = "" if result.failure is None else result.failure.detail
    if result.failure is not None and result.failure.sqlstate:
        said += f" (SQLSTATE {result.failure.sqlstate})"
    if ended_by is not None and result.outcome is Applied.DONE:
        outcome = "applied, but perhaps undone"
        said = f"The work ended early: {ended_by.sentence()}"
    return Executed(_hidden(result.planned.sql), result.seconds, outcome, said)


def _script(extensions: tuple[PlannedExtension, ...], compared: ComparedSchemas) -> Script:
    missing = [planned for _, planned in (*compared.missing_pre_data, *compared.missing_post_data)]
    secrets: dict[str, Secret] = {}
    statements: list[ScriptStatement] = []
    for planned in (*extension_statements(extensions), *missing):
        shown = planned.sql
        if _PASSWORD in shown.lower():
            shown, found = mask(shown, first=len(secrets) + 1)
            secrets |= found
        statements.append(ScriptStatement(planned.about, shown.rstrip().removesuffix(";")))
    notes = tuple(
        f"The target does not offer the extension {extension.name}; what uses it is refused"
        for extension in extensions
        if extension.state is ExtensionState.UNAVAILABLE
    )
    return Script(FILE_NAME, _TITLE, tuple(statements), notes=notes, secrets=secrets)


def _to_show(comparison: SchemaComparison) -> SchemaComparison:
    """Without extensions, which are planned by themselves, and without passwords."""
    return SchemaComparison(
        tuple(
            replace(
                one,
                source_statement=_hidden(one.source_statement),
                target_statement=_hidden(one.target_statement),
            )
            for one in comparison.objects
            if not is_about_an_extension(one.key)
        )
    )


def _hidden(statement: str) -> str:
    return mask(statement)[0] if _PASSWORD in statement.lower() else statement
