"""From the writers' stop to the line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.catalog.tables import list_tables
from engine.connection.session import open_session
from engine.cutover.fence import pass_fence
from engine.cutover.outcome import (
    FenceOutcome,
    ReadOnlyOffer,
    ReadOnlyRecord,
    SequenceOutcome,
    SourceSession,
    WriteActivity,
)
from engine.cutover.read_only import (
    offer_read_only,
    refusal,
    run_together,
    set_statements,
    terminate,
    undo_statements,
)
from engine.cutover.sequences import copy_sequences
from engine.cutover.target_writable import why_not_writable
from engine.cutover.writers import write_activity
from engine.errors import EngineError, Side
from engine.postsync.plan import plan_checklist
from engine.privileges.plan import plan_privileges
from engine.settings.database_settings import plan_settings
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.step_services.host import HostSteps
from livesync_tui.transcript import FILE_NAME, Executed, applied_statements, executed

_FENCE_SECONDS = 120.0


class CutoverSteps:
    """Implements :class:`screens.step_services.cutover.CutoverServices`."""

    def __init__(
        self, context: MigrationContext, host: HostSteps, stop_writers: Callable[[], None] | None
    ) -> None:
        self._context = context
        self._host = host
        self._stop_writers = stop_writers

    @property
    def can_stop_writers(self) -> bool:
        return self._stop_writers is not None

    @returns_failure("stopping the writers")
    def stop_writers(self) -> None:
        if self._stop_writers is not None:
            self._stop_writers()

    @returns_failure("looking for writers")
    def write_activity(self) -> WriteActivity:
        with open_session(self._context.source, "write activity") as session:
            return write_activity(session)

    @returns_failure("looking whether the target takes writes")
    def why_not_writable(self) -> str:
        with open_session(self._context.target, "takes writes") as session:
            return why_not_writable(session)

    @returns_failure("looking at what is left to do")
    def leftovers(self) -> tuple[str, ...]:
        with (
            open_session(self._context.source, "leftovers") as source,
            open_session(self._context.target, "leftovers") as target,
        ):
            items = plan_checklist(source, target).items
            privileges = plan_privileges(source, target)
            settings = plan_settings(source, target, self._context.role_filter(source, target))
        undone = [item for item in items if not item.is_settled]
        counts = (
            (len(undone), "Post-sync", "not done", undone[0].name if undone else ""),
            *(
                (len(script.to_run), "Rights", f"of {script.file_name} not run", script.to_run[0].about)
                for script in (privileges, settings)
                if script.to_run
            ),
        )
        return tuple(f"{step}: {count} {what} ({first})" for count, step, what, first in counts if count)

    @returns_failure("passing the fence")
    def pass_fence(self) -> FenceOutcome:
        self._context.require_writing()
        engine = self._host.engine
        assert engine is not None
        with open_session(self._context.source, "fence") as session:
            outcome = pass_fence(engine, session, timeout_seconds=_FENCE_SECONDS)
        self._context.transcribe(Side.SOURCE, [Executed(outcome.statement, outcome.seconds, "applied")])
        return outcome

    @returns_failure("carrying the sequences over")
    def copy_sequences(self) -> tuple[SequenceOutcome, ...]:
        self._context.require_writing()
        return self._sequences(sets=True)

    @returns_failure("reading the sequences")
    def measure_sequences(self) -> tuple[SequenceOutcome, ...]:
        return self._sequences(sets=False)

    def _sequences(self, *, sets: bool) -> tuple[SequenceOutcome, ...]:
        with (
            open_session(self._context.source, "sequences") as source,
            open_session(self._context.target, "sequences") as target,
        ):
            return copy_sequences(source, target, self._context.table_map, sets=sets)

    @returns_failure("looking who could write")
    def offer_read_only(self) -> ReadOnlyOffer:
        with (
            open_session(self._context.source, "read-only") as source,
            open_session(self._context.target, "read-only") as target,
        ):
            return offer_read_only(source, self._context.role_filter(source, target))

    @returns_failure("making the source read-only")
    def make_read_only(self, records: Sequence[ReadOnlyRecord]) -> None:
        self._context.require_writing()
        earlier = self._context.migration.read_only
        # Before, so that whoever comes back after a crash knows what to undo.
        self._context.remember(read_only=(*earlier, *records))
        try:
            self._change_source(set_statements(records))
        except EngineError as error:
            if error.failure.sqlstate is not None and not error.failure.sqlstate.startswith(_CONNECTION_LOST):
                self._context.remember(read_only=earlier)
            raise

    @returns_failure("letting the source write again")
    def undo_read_only(self) -> None:
        records = self._context.migration.read_only
        if not records:
            return
        self._context.require_writing()
        # What was set first was there before what was set later.
        self._change_source(undo_statements(records[::-1]))
        self._context.remember(read_only=())

    def _change_source(self, statements: Sequence[str]) -> None:
        with open_session(self._context.source, "read-only") as session:
            results = run_together(session, statements)
        self._context.transcribe(Side.SOURCE, executed(results))
        refused = refusal(results)
        if refused is not None:
            raise EngineError(refused)

    @returns_failure("ending sessions on the source")
    def end_sessions(self, sessions: Sequence[SourceSession]) -> int:
        self._context.require_writing()
        with open_session(self._context.source, "end sessions") as session:
            ended = terminate(session, sessions)
        statements = [f"select pg_catalog.pg_terminate_backend({each.pid})" for each in sessions]
        self._context.transcribe(Side.SOURCE, [Executed(one, 0.0, "applied") for one in statements])
        return ended

    @returns_failure("looking what was left out")
    def not_migrated(self) -> tuple[str, ...]:
        migration = self._context.migration
        with open_session(self._context.source, "left out") as session:
            tables = list_tables(session)
        chosen = set(migration.tables)
        return (
            *(
                f"table {table.name}: {table.problem or 'not chosen'}"
                for table in tables
                if table.name not in chosen
            ),
            *(f"role {name}: taken out of the list" for name in migration.left_out_roles),
            *(f"{about}: taken out of {file}" for file, about in migration.left_out_statements),
        )

    def source_changes(self) -> tuple[str, ...]:
        try:
            text = (self._context.folder / FILE_NAME).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ()
        return applied_statements(text, Side.SOURCE)


_CONNECTION_LOST = "08"
"""Class of SQLSTATEs after which it is not known what became of a transaction."""
