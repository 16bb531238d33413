"""The step Post-sync: what no replication brings, done on the target once all rows are there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Static

from engine.errors import Failure, Side
from engine.postsync.checklist import Checklist, ChecklistItem, Progress, Task
from engine.script.planned import Script, ScriptResult, ScriptStatement, StatementResult
from screens.action_button import ActionButton
from screens.editing import edit_file
from screens.fitted_table import Column, FittedTable
from screens.format import (
    cell,
    human_bytes,
    human_duration,
    human_whole_seconds,
    plain,
    plural,
    visible_lines,
)
from screens.generated import GeneratedFile
from screens.migration import Step
from screens.modals.confirm import ConfirmModal
from screens.modals.failure import failure_text
from screens.modals.text import TextModal
from screens.script_step import result_words
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
Copied tables have no statistics, restored materialized views no rows, and constraints that were added NOT
VALID are not trusted yet. This list does it, several at a time: ANALYZE for every table, REFRESH for the
views that have rows on the source, VALIDATE for the constraints that are valid there.

It reads the target only; replication goes on meanwhile. What fails does not keep the others from being done,
and can be done again by itself with x. A materialized view shows the rows of the moment it was refreshed:
refresh it again shortly before the cutover when that matters.

Of TimescaleDB, continuous aggregates are refreshed and policies added. What drops or writes rows by itself
waits for the cutover (later): until then it may run into changes that still come. x does it nevertheless.

s stops it: what is running is cancelled and waits again; what is done stays done. So does leaving the step
or the wizard, which asks first.

The statements are in post_sync.sql too. i opens it in your editor: once it was edited, it is what the button
runs, one statement after another, instead of the list; d drops your edits.
"""

_FILE_NAME = "post_sync.sql"
_STOPPING = (
    "Statements that are running are cancelled and leave nothing behind; their items wait. What is done "
    "stays done. Replication goes on."
)

_DOING = {
    Task.ANALYZE: "analyze",
    Task.VALIDATE: "validate",
    Task.REFRESH: "refresh",
    Task.AGGREGATE: "refresh",
    Task.POLICY: "add",
}
_WORDS = {
    Progress.WAITING: ("○ waiting", "quiet"),
    Progress.RUNNING: ("● running", "busy"),
    Progress.DONE: ("✓ done", "good"),
    Progress.ALREADY_THERE: ("✓ there", "good"),
    Progress.FAILED: ("✗ failed", "bad"),
}
_COLUMNS = (
    Column("State", "state", width=9),
    Column("Do", "task", width=8),
    Column("Object", "name", weight=1),
    Column("Size", "size", width=9, right=True),
    Column("Took", "took", width=8, right=True),
)


def checklist_line(checklist: Checklist) -> str:
    """How far the list is, in one sentence."""
    settled = sum(item.is_settled for item in checklist.items)
    line = f"{settled} of {plural(len(checklist.items), 'item')} done"
    if checklist.size_bytes:
        line += f", {human_bytes(checklist.settled_bytes)} of {human_bytes(checklist.size_bytes)} read"
    later = sum(item.after_cutover and not item.is_settled for item in checklist.items)
    if later:
        line += f", {later} wait for the cutover"
    failed = checklist.count(Progress.FAILED)
    return f"{line}, {failed} failed" if failed else line


def checklist_script(checklist: Checklist) -> Script:
    """What is still to be done, to be read or run by hand."""
    return Script(
        _FILE_NAME,
        "What is left to do on the target once all rows are there",
        tuple(
            ScriptStatement(
                f"{item.name}: {_DOING[item.task]}",
                item.statement,
                "to be run after the cutover" if item.after_cutover else "",
            )
            for item in checklist.items
            if not item.is_settled
        ),
    )


class PostsyncScreen(WizardScreen):
    """Shows the list and works it off."""

    STEP = Step.POSTSYNC
    QUESTION = "What is left to do on the target?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "postsync.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "do_one", "Do one", id="postsync.one", tooltip="Do the marked item, again too."),
        Binding("s", "stop", "Stop", id="postsync.stop", tooltip="Cancel what is running."),
        Binding("r", "plan", "Look again", id="postsync.plan", tooltip="Look at both servers again."),
        Binding(
            "i", "edit", "Edit", id="postsync.edit", show=False, tooltip="Open the script in your editor."
        ),
        Binding("d", "discard", "Discard", id="postsync.discard", show=False, tooltip="Drop your edits."),
        Binding("v", "view", "View", id="postsync.view", show=False, tooltip="Read the item in full."),
        Binding(
            "e", "error_details", "Error", id="postsync.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._checklist: Checklist | None = None
        self._came: Checklist | None = None
        """Put here by the threads that do the work; the screen takes it at its next look."""

        self._failed: Failure | None = None
        self._file: GeneratedFile | Failure | None = None
        """What post_sync.sql holds, or why it cannot be read."""

        self._edited_results: tuple[StatementResult, ...] = ()
        self._began_seconds = 0.0
        self._settled_bytes_before = 0
        self._item_began_seconds: dict[int, float] = {}
        self._then: Callable[[], None] | None = None
        """Where to go when the work has stopped."""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", id="says", markup=False)
        with Horizontal(id="act-row", classes="row"):
            yield ActionButton("Do all", id="all", classes="-act")
        yield FittedTable(_COLUMNS, id="items")
        yield Static("", id="detail", markup=False)

    def opened(self) -> None:
        self._show()
        self._list.focus()
        self.action_plan()

    def resized(self) -> None:
        if self._list.fit():
            self._fill()

    def tick(self) -> None:
        self.poll()

    def poll(self) -> None:
        """Take over what the work has reported since the last look."""
        came = self._came
        if came is not None and came is not self._checklist:
            self._checklist = came
            self._note_begun(came)
            self._show()
        elif self._is_running:
            # The times go on.
            self._show()

    def _note_begun(self, checklist: Checklist) -> None:
        running = {item.number for item in checklist.items if item.progress is Progress.RUNNING}
        now = self.services.monotonic_seconds()
        self._item_began_seconds = {number: self._item_began_seconds.get(number, now) for number in running}

    @property
    def _list(self) -> FittedTable:
        return self.query_one("#items", FittedTable)

    def _marked(self) -> ChecklistItem | None:
        marked = self._list.marked()
        if marked is None or self._checklist is None:
            return None
        return self._checklist.items[int(marked)]

    # Looking.

    def action_plan(self) -> None:
        if self.jobs.running:
            return
        self.notice(None)
        self._edited_results = ()
        self._plan(over_edited=False)

    def _plan(self, *, over_edited: bool) -> None:
        look = partial(self._plan_and_write, over_edited=over_edited)
        self.start_job("plan", "looking at what is left to do", look, self._planned)

    def _plan_and_write(self, *, over_edited: bool) -> tuple[Checklist, GeneratedFile | Failure] | Failure:
        checklist = self.services.postsync.plan()
        if isinstance(checklist, Failure):
            return checklist
        script = checklist_script(checklist)
        return checklist, self.services.scripts.generate(Side.TARGET, script, over_edited=over_edited)

    def _planned(self, outcome: tuple[Checklist, GeneratedFile | Failure] | Failure) -> None:
        self._failed = outcome if isinstance(outcome, Failure) else None
        if isinstance(outcome, Failure):
            self.notice(outcome)
        else:
            self._came = None
            self._checklist, self._file = outcome
            if isinstance(self._file, Failure):
                self.notice(self._file)
            self._list.clear()
        self._show()

    # The script as a file.

    @property
    def _edited(self) -> GeneratedFile | None:
        file = self._file
        return file if isinstance(file, GeneratedFile) and file.is_edited else None

    def action_edit(self) -> None:
        file = self._file
        if self.jobs.running or not isinstance(file, GeneratedFile):
            return
        command = self.services.scripts.editor()
        failure = command if isinstance(command, Failure) else edit_file(self.app, command, file.path)
        self.notice(failure)
        if failure is None:
            self.read_file()

    def read_file(self) -> None:
        """Read the script again; somebody may have edited it."""
        self._file = self.services.scripts.read(_FILE_NAME)
        self.notice(self._file if isinstance(self._file, Failure) else None)
        self._show()

    def action_discard(self) -> None:
        if not self.jobs.running and (self._edited is not None or isinstance(self._file, Failure)):
            modal = ConfirmModal(
                "Drop your edits?", "The script is written anew.", act="Drop them", keep="Keep them"
            )
            self.app.push_screen(modal, self._discard)

    def _discard(self, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self._plan(over_edited=True)

    def _run_edited(self) -> None:
        self.notice(None)
        run = partial(self.services.scripts.run, _FILE_NAME)
        self.start_job("edited", f"running {_FILE_NAME}", run, self._ran_edited)

    def _ran_edited(self, result: ScriptResult | Failure) -> None:
        if isinstance(result, Failure):
            self.notice(result)
            return
        self._edited_results = result.results
        for refused in result.refused:
            self.notice(Failure(f"{refused.about} was refused", refused.said, sqlstate=refused.sqlstate))
        self._plan(over_edited=False)

    # Drawing.

    def _show(self) -> None:
        checklist = self._checklist
        says = self.query_one("#says", Static)
        if checklist is None:
            says.update("")
        elif not checklist.items:
            nothing = "✓ The target has no table, view or constraint that needs anything."
            says.update(plain(nothing, "$text-success"))
        else:
            tone = "$text-success" if checklist.is_settled else ""
            lines = [plain(checklist_line(checklist) + self._time_left(checklist), tone)]
            if self._edited is not None:
                edited = (
                    f"{_FILE_NAME} was edited by you: the button runs it, not the list. d drops your edits."
                )
                lines.append(plain(edited, "$text-warning"))
            if self._edited_results:
                lines.append(plain(*result_words(self._edited_results)))
            says.update(Content("\n").join(lines))
        self._list.display = bool(checklist and checklist.items)
        self._fill()
        self._draw_button()
        self.redraw_frame()

    def _time_left(self, checklist: Checklist) -> str:
        """By the bytes that were read since the work began; nothing while none were."""
        if not self._is_running:
            return (
                f", {plural(self._to_do, 'statement')} would run; this is a dry run" if self._is_dry else ""
            )
        read_bytes = checklist.settled_bytes - self._settled_bytes_before
        if read_bytes <= 0:
            return ""
        seconds = self.services.monotonic_seconds() - self._began_seconds
        left_bytes = checklist.size_bytes - checklist.settled_bytes
        return f", {human_duration(left_bytes * seconds / read_bytes)} left"

    @property
    def _to_do(self) -> int:
        return 0 if self._checklist is None else len(self._checklist.left)

    @property
    def _is_dry(self) -> bool:
        return self.services.dry_run and self._to_do > 0

    def _draw_button(self) -> None:
        button = self.query_one("#all", ActionButton)
        left = self._to_do
        self.query_one("#act-row").display = bool(left) or self._edited is not None
        button.say(f"Do {plural(left, 'item')}" if self._edited is None else f"Run {_FILE_NAME}")
        button.turn_off(self._is_running or self.services.dry_run)

    @property
    def _is_running(self) -> bool:
        return self.jobs.is_running("run")

    def _fill(self) -> None:
        rows = self._list
        remade = rows.fit()
        items = () if self._checklist is None else self._checklist.items
        if remade or rows.row_count != len(items):
            rows.clear()
            for item in items:
                rows.add(str(item.number), self._cells(item))
        else:
            for item in items:
                cells = self._cells(item)
                for key in rows.shown_keys:
                    rows.change(str(item.number), key, cells[key])
        self._show_detail()

    def _cells(self, item: ChecklistItem) -> dict[str, Text]:
        word, tone = _WORDS[item.progress]
        if item.after_cutover and item.progress is Progress.WAITING:
            word, tone = "◌ later", "quiet"
        took = human_duration(item.seconds) if item.seconds else ""
        began = self._item_began_seconds.get(item.number)
        if item.progress is Progress.RUNNING and began is not None:
            took = human_whole_seconds(self.services.monotonic_seconds() - began)
        return {
            "state": cell(word, self.tone(tone)),
            "task": cell(_DOING[item.task]),
            "name": cell(item.name),
            "size": cell(human_bytes(item.size_bytes), right=True),
            "took": cell(took, right=True),
        }

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        item = self._marked()
        detail = self.query_one("#detail", Static)
        detail.display = item is not None
        if item is not None:
            lines = [plain(f"{item.statement};", "$text-muted")]
            if item.after_cutover and not item.is_settled:
                lines.append(
                    plain("After the cutover: until then it may run into changes that still come; x does it")
                )
            if item.failure is not None:
                lines.append(Content.styled(visible_lines(failure_text(item.failure)), "$text-error"))
            detail.update(Content("\n").join(lines))

    def on_data_table_row_selected(self) -> None:
        self.action_view()

    def action_view(self) -> None:
        item = self._marked()
        if item is not None:
            text = f"{item.statement};"
            if item.failure is not None:
                text += f"\n\n{failure_text(item.failure)}"
            self.app.push_screen(TextModal("Item", text, "item.txt", self.copy, large=True))

    def copy_text(self) -> tuple[str, str] | None:
        item = self._marked()
        return None if item is None else ("item.sql", f"{item.statement};\n")

    # Doing.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "do_one":
            item = None if self._checklist is None else self._marked()
            return True if item is not None and not self.jobs.running and not self.services.dry_run else None
        if action == "stop":
            return True if self._is_running else None
        return super().check_action(action, parameters)

    @on(Button.Pressed, "#all")
    def _do_all(self) -> None:
        if self.jobs.running or self.services.dry_run:
            return
        # It may have been edited outside since it was shown.
        self.read_file()
        if isinstance(self._file, Failure):
            return
        if self._edited is not None:
            self._run_edited()
        else:
            self._run(None)

    def action_do_one(self) -> None:
        item = self._marked()
        if item is not None and self.check_action("do_one", ()):
            self._run((item.number,))

    def _run(self, chosen: Collection[int] | None) -> None:
        if self._checklist is None:
            return
        self.notice(None)
        self._began_seconds = self.services.monotonic_seconds()
        self._settled_bytes_before = self._checklist.settled_bytes - sum(
            item.size_bytes
            for item in self._checklist.items
            if item.number in (chosen or ()) and item.is_settled
        )
        run = partial(self.services.postsync.run, self._checklist, chosen, self._progressed)
        self.start_job("run", "working off the list", run, self._ran)
        self._draw_button()

    def _progressed(self, checklist: Checklist) -> None:
        # Called from other threads; a reference is put in place at once.
        self._came = checklist

    def action_stop(self) -> None:
        self.services.postsync.stop()

    def _ran(self, checklist: Checklist | Failure) -> None:
        if isinstance(checklist, Failure):
            self.notice(checklist)
        else:
            self._came = checklist
        self.poll()
        self._item_began_seconds = {}
        self._show()
        then, self._then = self._then, None
        if then is not None:
            then()

    # Leaving while it runs.

    def action_back(self) -> None:
        self._leave_by(super().action_back)

    def action_leave(self) -> None:
        self._leave_by(super().action_leave)

    def _go_to(self, step: Step | None) -> None:
        go = partial(super()._go_to, step)
        if step is None or step is self.STEP:
            return
        self._leave_by(go)

    def _leave_by(self, go: Callable[[], None]) -> None:
        if not self._is_running:
            go()
            return
        modal = ConfirmModal(
            "Stop working the list off?", _STOPPING, act="Stop and leave", keep="Go on with it"
        )
        self.app.push_screen(modal, partial(self._stop_and_leave, go))

    def _stop_and_leave(self, go: Callable[[], None], confirmed: bool | None) -> None:
        if not confirmed:
            return
        if not self._is_running:
            go()
            return
        self._then = go
        self.services.postsync.stop()

    def on_unmount(self) -> None:
        # The terminal is gone, or the program was told to end: nobody could be asked.
        if self._is_running:
            self.services.postsync.stop()

    # The gate.

    def next_blocked(self) -> str | None:
        if self._checklist is None and self._failed is None:
            return "what is left to do was not looked at; r looks"
        return None

    def next_hint(self) -> str:
        if self._failed is not None:
            return "Next goes on to Cutover without it; e says why"
        if self._to_do:
            return f"{plural(self._to_do, 'item')} not done; Next goes on to Cutover without"
        return super().next_hint()
