"""The step Schema: what the source has and the target lacks is made there, object by object."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from engine.errors import Failure, Side
from engine.schema.comparison import AppliedStatement, ApplyReport, ObjectKey, Presence
from screens.action_button import ActionButton
from screens.editing import edit_file
from screens.fitted_table import Column
from screens.format import cell, plain, plural, visible_lines
from screens.generated import GeneratedFile
from screens.migration import Step
from screens.modals.confirm import ConfirmModal
from screens.modals.confirm_name import ConfirmNameModal
from screens.modals.text import TextModal
from screens.row_list import RowList
from screens.schema_detail import detail_lines, detail_text
from screens.schema_rows import (
    RowState,
    SchemaRow,
    Shown,
    result_key,
    results_by_key,
    schema_rows,
    with_result,
)
from screens.schema_words import compared_line, missing_line, results_line, waiting_line
from screens.services import MigrationServices
from screens.step_services.schema import SchemaLook, ScriptToRun
from screens.wizard import WizardScreen

_HELP = """
One pg_dump reads both sides, and every object is compared: missing on the target, different, identical, or
only there. What is missing is written as a script, schema_dump.sql, in the migration's folder: v shows it, i
opens it in your editor, and what is in the file is what is run. d drops your edits.

Tables first makes extensions, tables, types, functions and views now. Primary keys and replica identities are
built when a table's rows are there, all other indexes, constraints and triggers when every table is copied:
the copy is faster that way. What waits is recorded on the target under the subscription's name. Of an edited
script, what is not as pg_dump wrote it is made now.

All at once makes everything now.

Statements are run one by one: what PostgreSQL refuses is shown with its words and does not keep the others
from being made; they are committed in portions, so a schema of any size fits into the lock table.
Hypertables are the exception: where the source has them and the target no table yet, Tables first makes
tables, hypertables and aggregates in one transaction, unless the script was edited.
What is identical is skipped. What differs is shown as a diff and left as it is.

Nothing is dropped without its name typed: k drops the marked object of the target, without CASCADE; a DROP in
an edited script asks for the name of what it drops. u drops all that this step has made since livesync-tui
was started, but for extensions and for what you wrote yourself, and forgets what was put off; it asks for the
name of the database.

f shows only what is missing, refused, different, only on the target or there; / finds a name or a kind.
"""

FILE_NAME = "schema_dump.sql"

_LINES_SHOWN = 2_000
"""More of a text nobody reads here, and a terminal takes seconds to draw it."""

_DETAIL_LINES = 200
_FILTER_DELAY_SECONDS = 0.15

_COLUMNS = (
    Column("State", "state", width=12),
    Column("Kind", "kind", width=13),
    Column("Object", "name", weight=1),
    Column("When", "when", width=10),
    Column("Took", "took", width=9, right=True),
)


class SchemaScreen(WizardScreen):
    """Compares both schemas, makes what is missing, and looks again."""

    STEP = Step.SCHEMA
    QUESTION = "Are the tables there on the target?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "row_list.tcss", "schema.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "apply", "Apply", id="schema.apply", tooltip="Make the tables now; asks first."),
        Binding(
            "f", "show", "Show", id="schema.show", tooltip="Show only what is missing, different, refused."
        ),
        Binding("slash", "filter", "Filter", id="schema.filter", tooltip="Find a name or a kind."),
        Binding(
            "escape", "clear_filter", "Clear", id="schema.clear", show=False, tooltip="Clear the filter."
        ),
        Binding("v", "view", "Script", id="schema.view", tooltip="Read the script on the whole screen."),
        Binding("i", "edit", "Edit", id="schema.edit", tooltip="Open the script in your editor."),
        Binding("d", "discard", "Discard", id="schema.discard", show=False, tooltip="Drop your edits."),
        Binding(
            "k", "drop", "Drop", id="schema.drop", tooltip="Drop the marked object of the target; asks first."
        ),
        Binding("r", "look", "Look again", id="schema.look", show=False, tooltip="Compare both sides again."),
        Binding("u", "undo", "Undo", id="schema.undo", show=False, tooltip="Drop what this step has made."),
        Binding(
            "e", "error_details", "Error", id="schema.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._look: SchemaLook | None = None
        self._file: GeneratedFile | None = None
        self._unreadable: Failure | None = None
        """Why the file cannot be read now."""

        self._rows: list[SchemaRow] = []
        self._by_about: dict[str, int] = {}
        """Number of the row that a result belongs to."""

        self._drawn: list[int] = []
        """Number of each row that passes the filter, in order."""

        self._marked_about = ""
        self._shown = Shown.ALL
        self._results: tuple[AppliedStatement, ...] = ()
        self._came: list[AppliedStatement] = []
        """Filled by the thread that does the work; the screen takes what is new at its next look."""

        self._taken = 0
        self._filter_timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", id="says", markup=False)
        with Horizontal(id="apply-row", classes="row"):
            yield ActionButton("Tables first", id="restore", classes="-act")
            yield ActionButton("All at once", id="apply", classes="-act")
            yield Static("", id="script-about", classes="quiet", markup=False)
        typed = Input(id="filter", placeholder="part of a name or kind; enter keeps it, esc clears it")
        typed.compact = True
        typed.cursor_blink = False
        typed.display = False
        yield typed
        yield RowList(self._cells, id="objects")
        yield Static("", id="empty", markup=False)
        with VerticalScroll(id="detail-box", can_focus=False):
            yield Static("", id="detail", markup=False)

    def opened(self) -> None:
        self._show()
        self._list.focus()
        self.action_look()

    @property
    def _list(self) -> RowList:
        return self.query_one("#objects", RowList)

    def _marked(self) -> SchemaRow | None:
        marked = self._list.marked
        return None if marked is None else self._rows[self._drawn[marked]]

    # Looking.

    def action_look(self) -> None:
        if self.jobs.running:
            return
        self.notice(None)
        self._results = ()
        self._compare()

    def _compare(self, *, over_edited: bool = False) -> None:
        look = partial(self.services.schema.look, over_edited=over_edited)
        self.start_job("look", "comparing both schemas", look, self._looked)

    def _looked(self, look: SchemaLook | Failure) -> None:
        if isinstance(look, Failure):
            self.notice(look)
            return
        self._look = look
        self._file, self._unreadable = look.file, look.unreadable
        waiting = look.waiting
        subscription = self.services.migration.subscription if waiting is None else waiting.subscription
        self.remember(builds_schema=waiting is not None, subscription=subscription)
        self._show()
        failure = look.problem or look.unreadable
        if failure is not None:
            self.notice(failure)

    # Drawing.

    def _show(self) -> None:
        self._make_rows()
        if self._shown is not Shown.ALL and not self._of(self._shown):
            self._shown = Shown.ALL
        self._draw_says()
        self._draw_buttons()
        self._fill()
        self.redraw_frame()

    def _make_rows(self) -> None:
        look = self._look
        self._rows = [] if look is None else schema_rows(look, results_by_key(self._results))
        self._by_about = {row.about: row.number for row in self._rows}

    def _of(self, shown: Shown) -> int:
        return sum(row.matches(shown, "") for row in self._rows)

    def _draw_says(self) -> None:
        look = self._look
        lines: list[Content] = []
        if self._results:
            lines.append(plain(*results_line(self._results)))
        if look is not None:
            tone = "$text-warning" if look.missing else "$text-success"
            lines.append(plain(missing_line(look.missing, len(self.services.migration.tables)), tone))
            if look.waiting is not None:
                lines.append(plain(waiting_line(look.waiting), tone))
            if look.risks:
                more = f" and {len(look.risks) - 1} more" if len(look.risks) > 1 else ""
                lines.append(plain(f"! Columns differ: {look.risks[0]}{more}", "$text-warning"))
            if look.problem is not None:
                said = "✗ Both schemas could not be compared: e says why, r tries again."
                lines.append(plain(said, "$text-warning"))
            else:
                lines.append(plain(f"{compared_line(look)}{self._filter_words()}", "$text-muted"))
        if self._unreadable is not None:
            said = f"✗ {FILE_NAME} cannot be run as it is: i edits it, d drops your edits."
            lines.append(plain(said, "$text-warning"))
        elif self._is_edited:
            edited = f"{FILE_NAME} was edited by you: it is what is run. d drops your edits."
            lines.append(plain(edited, "$text-warning"))
        self.query_one("#says", Static).update(Content("\n").join(lines))

    def _filter_words(self) -> str:
        return "" if self._shown is Shown.ALL else f" · shown: {self._shown.value}"

    @property
    def _is_edited(self) -> bool:
        return self._unreadable is not None or (self._file is not None and self._file.is_edited)

    @property
    def _to_run(self) -> int:
        return 0 if self._file is None else len(self._file.statements)

    @property
    def _is_working(self) -> bool:
        return self.jobs.is_running("apply") or self.jobs.is_running("undo")

    def _draw_buttons(self) -> None:
        look = self._look
        self.query_one("#apply-row").display = bool(self._to_run)
        off = bool(self.jobs.running) or self.services.dry_run
        for button in self.query("#apply-row ActionButton").results(ActionButton):
            button.turn_off(off)
        if look is None or self._file is None:
            return
        words = f"{plural(self._to_run, 'statement')}, {look.pg_dump}"
        if self.services.dry_run:
            words = f"{plural(self._to_run, 'statement')}; a dry run makes nothing"
        self.query_one("#script-about", Static).update(plain(words))

    def _fill(self) -> None:
        """Show the lines that pass the filters."""
        wanted = self.query_one("#filter", Input).value.strip().lower()
        drawn = [row for row in self._rows if row.matches(self._shown, wanted)]
        self._drawn = [row.number for row in drawn]
        abouts = [row.about for row in drawn]
        marked = abouts.index(self._marked_about) if self._marked_about in abouts else 0
        self._list.show(_COLUMNS, len(drawn), marked)
        self._list.display = bool(drawn)
        empty = self.query_one("#empty", Static)
        empty.display = not drawn and bool(self._rows)
        empty.update(plain(f"Nothing here has “{wanted}” in its name or kind. esc clears the filter."))
        self.query_one("#detail-box").display = bool(drawn)
        self._draw_detail()

    def _cells(self, line: int) -> dict[str, Text]:
        row = self._rows[self._drawn[line]]
        quiet = self.tone("quiet")
        return {
            "state": cell(row.state.word, self.tone(row.state.tone)),
            "kind": cell(row.kind, quiet),
            "name": cell(row.name),
            "when": cell(row.when, quiet),
            "took": cell(row.took, right=True),
        }

    def on_row_list_marked(self) -> None:
        self._draw_detail()

    def _draw_detail(self) -> None:
        row = self._marked()
        if row is None:
            return
        self._marked_about = row.about
        lines = []
        for line in islice(detail_lines(row), _DETAIL_LINES):
            style = line.tone if line.tone in ("", "bold") else self.tone(line.tone)
            lines.append(Text(visible_lines(_cut(line.text, _DETAIL_LINES, "enter")), style=style))
        self.query_one("#detail", Static).update(Group(*lines))
        self.query_one("#detail-box", VerticalScroll).scroll_home(animate=False)

    # Filtering.

    def action_show(self) -> None:
        """Show the next part that has something in it."""
        parts = list(Shown)
        following = parts[parts.index(self._shown) + 1 :]
        self._shown = next((part for part in following if self._of(part)), Shown.ALL)
        self._draw_says()
        self._fill()

    def action_filter(self) -> None:
        typed = self.query_one("#filter", Input)
        typed.display = True
        typed.focus()

    def action_clear_filter(self) -> None:
        typed = self.query_one("#filter", Input)
        if not typed.display:
            return
        typed.value = ""
        typed.display = False
        self._fill()
        self._list.focus()

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self._filter_timer = self.set_timer(_FILTER_DELAY_SECONDS, self._fill)

    @on(Input.Submitted, "#filter")
    def _submitted(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self._fill()
        if self._drawn:
            self._list.focus()

    # Reading and editing.

    def on_row_list_chosen(self) -> None:
        row = self._marked()
        if row is not None:
            title = f"{row.kind} {row.name}"
            text = _cut(detail_text(row), _LINES_SHOWN, "y")
            self.app.push_screen(TextModal(title, text, "object.txt", self.copy, large=True))

    def action_view(self) -> None:
        file = self._file
        if file is not None:
            text = _cut(file.text, _LINES_SHOWN, f"your pager on {file.path}")
            modal = TextModal(str(file.path), text, f"copy_of_{FILE_NAME}", self.copy, large=True)
            self.app.push_screen(modal)

    def copy_text(self) -> tuple[str, str] | None:
        row = self._marked()
        if row is None:
            return None
        if row.one is not None:
            return "object.sql", f"{row.one.diff() or row.one.source_statement or row.one.target_statement}\n"
        return "object.txt", f"{detail_text(row)}\n"

    def action_edit(self) -> None:
        path = self.services.schema.script_path
        if path is None or self.jobs.running or (self._file is None and self._unreadable is None):
            return
        command = self.services.scripts.editor()
        failure = command if isinstance(command, Failure) else edit_file(self.app, command, path)
        if isinstance(failure, Failure):
            self.notice(failure)
        else:
            self.read_file()

    def read_file(self) -> None:
        """Read the script again; somebody may have edited it."""
        self.notice(None)
        self.start_job("read", "reading the script", self.services.schema.read, self._read)

    def _read(self, script: ScriptToRun | Failure) -> None:
        if isinstance(script, Failure):
            self._file, self._unreadable = None, script
            self.notice(script)
        else:
            self._file, self._unreadable = script.file, None
        self._draw_says()
        self._draw_buttons()

    def action_discard(self) -> None:
        if self.jobs.running or not self._is_edited:
            return
        modal = ConfirmModal(
            "Drop your edits?", "The script is written anew.", act="Drop them", keep="Keep them"
        )
        self.app.push_screen(modal, self._discard)

    def _discard(self, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self._results = ()
            self._compare(over_edited=True)

    # Making.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        can_change = not self.jobs.running and not self.services.dry_run
        if action == "apply":
            return True if self._to_run and can_change else None
        if action == "drop":
            return True if can_change and self._droppable() is not None else None
        if action == "undo":
            return True if can_change and self.services.schema.made_count else None
        return super().check_action(action, parameters)

    @on(Button.Pressed, "#restore")
    def action_apply(self) -> None:
        self._begin(tables_first=True)

    @on(Button.Pressed, "#apply")
    def _apply_everything(self) -> None:
        self._begin(tables_first=False)

    def _begin(self, *, tables_first: bool) -> None:
        if not self.check_action("apply", ()):
            return
        self.notice(None)
        # It may have been edited outside since it was shown.
        read = partial(self._ask_what_drops, tables_first)
        self.start_job("read", "reading the script", self.services.schema.read, read)

    def _ask_what_drops(self, tables_first: bool, script: ScriptToRun | Failure) -> None:
        self._read(script)
        if isinstance(script, ScriptToRun) and self._to_run:
            self._ask_next_drop(tables_first, script.drops, 0)

    def _ask_next_drop(self, tables_first: bool, drops: tuple[str, ...], asked: int) -> None:
        """One name after another is typed; then the whole is confirmed."""
        if asked == len(drops):
            self._ask(tables_first, drops)
            return
        name = drops[asked]
        modal = ConfirmNameModal(
            "Your script drops or empties something",
            f"{name} on the target{self._where_to()}, with all rows in it.",
            name=name,
            act="Allow it",
        )

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self._ask_next_drop(tables_first, drops, asked + 1)

        self.app.push_screen(modal, answered)

    def _where_to(self) -> str:
        endpoint = self.services.endpoint(Side.TARGET)
        return "" if endpoint is None else f" ({endpoint.database} on {endpoint.host}, as {endpoint.user})"

    def _ask(self, tables_first: bool, drops: tuple[str, ...]) -> None:
        look = self._look
        assert look is not None
        lines = [f"{FILE_NAME}: {plural(self._to_run, 'statement')} for the target{self._where_to()}."]
        if tables_first:
            name = self.services.migration.subscription
            lines.append(
                "Keys, indexes, constraints and triggers wait for the rows: they are recorded on the target "
                f"for the subscription {name}, and Start builds them."
            )
        lines.append("What is refused does not stop the others.")
        modal = ConfirmModal(
            "Make the tables?" if tables_first else "Make everything?", "\n\n".join(lines), act="Run"
        )
        self.app.push_screen(modal, partial(self._apply, tables_first, drops))

    def _apply(self, tables_first: bool, drops: tuple[str, ...], confirmed: bool | None) -> None:
        if confirmed:
            self._begin_work()
            apply = partial(
                self.services.schema.apply,
                tables_first=tables_first,
                may_drop=drops,
                on_result=self._came.append,
            )
            self.start_job("apply", "making the schema", apply, self._worked)
            self._draw_buttons()

    def _begin_work(self) -> None:
        self._results = ()
        # A new list: a thread that was given up on may still hold the old one.
        self._came = []
        self._taken = 0

    def tick(self) -> None:
        self.poll()

    def poll(self) -> None:
        """Take over what the work has reported since the last look."""
        new = self._came[self._taken :]
        if not new or not self._is_working:
            return
        self._taken += len(new)
        for result in new:
            number = self._by_about.get(result_key(result.planned.about))
            if number is not None:
                self._rows[number] = with_result(self._rows[number], result)
        self._list.refresh()
        said, tone = results_line(self._came[: self._taken])
        self.query_one("#says", Static).update(plain(f"{self._taken:,} done: {said}", tone))
        self._draw_detail()

    def _worked(self, report: ApplyReport | Failure) -> None:
        if isinstance(report, Failure):
            self._results = tuple(self._came)
            self.notice(report)
            self._show()
            return
        self._results = report.results
        self._show()
        self._compare()

    # Dropping.

    def _droppable(self) -> ObjectKey | None:
        row = self._marked()
        if row is None or row.one is None:
            return None
        is_there = row.one.presence in (Presence.DIFFERENT, Presence.ONLY_ON_TARGET)
        return row.one.key if is_there and row.state is not RowState.MADE else None

    def action_drop(self) -> None:
        key = self._droppable()
        if key is None or not self.check_action("drop", ()):
            self.notify("Only what differs, or what only the target has, can be dropped here.", markup=False)
            return
        modal = ConfirmNameModal(
            f"Drop this {key.kind.lower()} of the target?",
            f"{key.name}{self._where_to()}, with all rows in it. Nothing that depends on it: if anything "
            "does, PostgreSQL refuses.",
            name=key.name,
            act="Drop it",
        )
        self.app.push_screen(modal, partial(self._drop, key))

    def _drop(self, key: ObjectKey, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self.start_job("drop", "dropping it", partial(self.services.schema.drop, key), self._dropped)

    def _dropped(self, report: ApplyReport | Failure) -> None:
        failure = report if isinstance(report, Failure) else _first_refusal(report)
        if failure is not None:
            self.notice(failure)
            return
        self._results = ()
        self._compare()

    # Undoing.

    def action_undo(self) -> None:
        if not self.check_action("undo", ()):
            self.notify("Nothing was made here since the program was started.", markup=False)
            return
        count = plural(self.services.schema.made_count, "object")
        modal = ConfirmNameModal(
            "Drop what this step has made?",
            f"{count} of the target{self._where_to()}, with all rows that are in them now. What was put off "
            "is forgotten. Extensions stay.",
            name=self.services.migration.target_database,
            act="Drop them",
        )
        self.app.push_screen(modal, self._undo)

    def _undo(self, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self._begin_work()
            undo = partial(self.services.schema.undo, self._came.append)
            self.start_job("undo", "dropping what was made", undo, self._undone)
            self._draw_buttons()

    def _undone(self, report: ApplyReport | Failure) -> None:
        self._results = ()
        failure = report if isinstance(report, Failure) else _first_refusal(report)
        if isinstance(report, ApplyReport):
            self._compare()
        if failure is not None:
            self.notice(failure)

    # The gate.

    def next_blocked(self) -> str | None:
        if self._look is None:
            return "the target has not been looked at; r looks again"
        missing = len(self._look.missing)
        if missing and not self.services.dry_run:
            return f"{plural(missing, 'chosen table is', 'chosen tables are')} missing on the target"
        return None

    def next_hint(self) -> str:
        look = self._look
        following = self.STEP.following
        assert following is not None
        if look is not None and look.risks:
            columns = plural(len(look.risks), "column differs", "columns differ")
            return f"{columns}; Next goes on to {following.title}"
        if self._to_run and not self.services.dry_run:
            return f"{plural(self._to_run, 'statement')} not run; Next goes on to {following.title} without"
        return super().next_hint()


def _cut(text: str, lines_shown: int, elsewhere: str) -> str:
    lines = text.splitlines()
    if len(lines) <= lines_shown:
        return text
    rest = plural(len(lines) - lines_shown, "line")
    return "\n".join([*lines[:lines_shown], f"… {rest} more: {elsewhere}"])


def _first_refusal(report: ApplyReport) -> Failure | None:
    return next((result.failure for result in report.refused), None)
