"""Step 5: the chosen tables have to exist on the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Log, Static

from engine.catalog.table import TableName
from engine.errors import Failure
from engine.schema.script import SchemaLook, SchemaScript, ScriptOutcome, WaitingObjects
from screens.action_button import ActionButton
from screens.format import plain, plural, visible_lines
from screens.migration import Step
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
Compares the chosen tables with what the target has. When some are missing, pg_dump writes the source's
schema (no data, no owners, no privileges) as a script. Read it, write it to a file with w, and choose:

Tables first makes tables, types, functions and views now. Primary keys and replica identities are built
when a table's rows are there, all other indexes, constraints and triggers when every table is copied: the
copy is faster that way. What waits is recorded on the target under the subscription's name.

All at once runs the whole script. Or run your own edited copy with psql and press r to look again.

Either runs in one transaction: when a statement fails, nothing of it stays on the target and psql's message
is shown as it is.
"""

_NAMES_SHOWN = 4


def missing_line(missing: tuple[TableName, ...], chosen: int) -> str:
    """Which chosen tables the target lacks, in one sentence."""
    if not missing:
        return f"All {plural(chosen, 'chosen table')} exist on the target already."
    names = ", ".join(str(name) for name in missing[:_NAMES_SHOWN])
    more = f" and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
    verb = "is" if len(missing) == 1 else "are"
    return f"{len(missing)} of {plural(chosen, 'chosen table')} {verb} missing on the target: {names}{more}"


def waiting_line(waiting: WaitingObjects) -> str:
    """What is built later, in one sentence."""
    count = plural(waiting.count, "key, index or other object", "keys, indexes and other objects")
    return f"{count} wait for the rows: Start builds them"


class SchemaScreen(WizardScreen):
    """Shows the script and applies it."""

    STEP = Step.SCHEMA
    QUESTION = "Are the tables there on the target?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "schema.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "View", id="schema.view", tooltip="Read the script on the whole screen."),
        Binding("w", "write", "Write", id="schema.write", tooltip="Write the script to a file."),
        Binding("r", "look", "Look again", id="schema.look", tooltip="Compare with the target again."),
        Binding(
            "e", "error_details", "Error", id="schema.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._look: SchemaLook | None = None
        self._script: SchemaScript | None = None
        self._outcome: ScriptOutcome | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", id="missing", markup=False)
        yield Static("", id="outcome", markup=False)
        with Horizontal(id="apply-row", classes="row"):
            yield ActionButton("Tables first", id="restore", classes="-act")
            yield ActionButton("All at once", id="apply", classes="-act")
            yield Static("", id="script-about", classes="quiet", markup=False)
        script = Log(id="script", highlight=False, auto_scroll=False)
        yield script

    def opened(self) -> None:
        self._show()
        self.action_look()

    def action_look(self) -> None:
        if self.jobs.running:
            return
        self.notice(None)
        self.start_job(
            "missing", "looking at the target's tables", self.services.look_at_schema, self._looked
        )

    def _looked(self, look: SchemaLook | Failure) -> None:
        if isinstance(look, Failure):
            self.notice(look)
            return
        self._look = look
        waiting = look.waiting
        subscription = self.services.migration.subscription if waiting is None else waiting.subscription
        self.remember(builds_schema=waiting is not None, subscription=subscription)
        self._show()
        if look.missing and self._script is None:
            self.start_job(
                "dump", "pg_dump writes the source's schema", self.services.dump_schema, self._dumped
            )

    def _dumped(self, script: SchemaScript | Failure) -> None:
        if isinstance(script, Failure):
            self.notice(script)
            return
        self._script = script
        log = self.query_one("#script", Log)
        log.clear()
        log.write(visible_lines(script.text))
        self._show()
        log.focus()
        if self.services.dry_run:
            self.action_write()

    def _show(self) -> None:
        look, script, outcome = self._look, self._script, self._outcome
        line = self.query_one("#missing", Static)
        if look is not None:
            said_lines = [missing_line(look.missing, len(self.services.migration.tables))]
            if look.waiting is not None:
                said_lines.append(waiting_line(look.waiting))
            tone = "$text-warning" if look.missing else "$text-success"
            line.update(Content("\n").join(plain(text, tone) for text in said_lines))
        self.query_one("#apply-row").display = script is not None and look is not None and bool(look.missing)
        self.query_one("#script").display = script is not None
        if script is not None:
            lines = script.text.count("\n")
            self.query_one("#script-about", Static).update(plain(f"{lines:,} lines by {script.pg_dump}"))
        said = self.query_one("#outcome", Static)
        said.display = outcome is not None
        if outcome is not None:
            said.update(
                plain(f"✓ Applied: {plural(outcome.statements, 'statement')}, committed.", "$text-success")
                if outcome.applied
                else Content.styled(
                    visible_lines(f"✗ Nothing was changed. psql said:\n{outcome.error}"),
                    "$text-error",
                )
            )
        self.redraw_frame()

    @on(Button.Pressed, "#restore")
    def _restore(self) -> None:
        self._run(self.services.restore_schema)

    @on(Button.Pressed, "#apply")
    def _apply(self) -> None:
        if self._script is not None:
            self._run(partial(self.services.apply_schema, self._script))

    def _run(self, restore: Callable[[], ScriptOutcome | Failure]) -> None:
        if self._script is None or self.jobs.running or self.services.dry_run:
            return
        self.notice(None)
        self.start_job("apply", "applying the schema on the target", restore, self._applied)

    def _applied(self, outcome: ScriptOutcome | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        self._outcome = outcome
        self._show()
        if outcome.applied:
            self.action_look()
        else:
            self.notice(
                Failure(
                    "The schema was not applied; nothing was changed on the target",
                    detail=outcome.error,
                    hint="Write the script to a file with w, correct it, run it with psql, and press r",
                )
            )

    def action_view(self) -> None:
        if self._script is not None:
            self.app.push_screen(
                TextModal("Schema of the source", self._script.text, "schema.sql", self.copy, large=True)
            )

    def action_write(self) -> None:
        if self._script is None:
            return
        written = self.services.write_file("schema.sql", self._script.text)
        if isinstance(written, Failure):
            self.notice(written)
        else:
            self.notify(f"Written to {written}", markup=False)

    def copy_text(self) -> tuple[str, str] | None:
        return None if self._script is None else ("schema.sql", self._script.text)

    def next_blocked(self) -> str | None:
        if self._look is None:
            return "the target has not been looked at; r looks again"
        missing = len(self._look.missing)
        if missing and not self.services.dry_run:
            return f"{plural(missing, 'chosen table is', 'chosen tables are')} missing on the target"
        return None
