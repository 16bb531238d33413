"""The frame of steps that generate a script: what it would do, statement by statement, and what came of it.

Order of events: the step plans on both servers and writes each script into its file, unless a person has
edited that. What is in the file is shown and applied. After applying, the step plans again: what is listed
then is what is still missing. Nothing here holds the next step up: what is not carried over is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Generic, TypeVar

from rich.console import Group
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import Failure, Side
from engine.script.planned import (
    Outcome,
    Script,
    ScriptResult,
    ScriptStatement,
    StatementResult,
    one_line,
)
from screens.editing import edit_file
from screens.fitted_table import Column, FittedTable
from screens.format import cell, human_milliseconds, plain, plural, visible, visible_lines
from screens.generated import GeneratedFile
from screens.modals.confirm import ConfirmModal
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import WizardScreen

PlanT = TypeVar("PlanT")

LEFT_OUT = "left out by you"

_MOST_NOTES = 3
"""More would leave no room for the list."""

_WORDS = {
    "run": ("○ to run", ""),
    "apart": ("- apart", "quiet"),
    "left": ("- left out", "quiet"),
    "refused": ("✗ refused", "bad"),
    "there": ("✓ there", "good"),
}

_COLUMNS = (
    Column("State", "state", width=10),
    Column("What", "about", weight=1),
    Column("File", "file", width=18, wide_only=True),
)


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One line of the list."""

    file_name: str
    state: str
    """Key of the word that is shown."""

    statement: ScriptStatement
    result: StatementResult | None = None
    """What came of it when it was last run."""

    @property
    def can_be_left_out(self) -> bool:
        return self.state in ("run", "left", "refused")


@dataclass(frozen=True, slots=True)
class OtherRow:
    """One line of a step's other list."""

    cells: dict[str, Text]
    """By column."""

    detail: Group
    """What is shown of it when it is marked."""

    text: str
    """What is copied."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A script as it was planned now, and its file."""

    script: Script
    file: GeneratedFile


def script_lines(planned: PlannedFile, results: Sequence[StatementResult]) -> list[ScriptLine]:
    """What a list shows of a script: what is to be run, what is not, and what is in place.

    Args:
        planned: The script and its file.
        results: Of the last run.
    """
    name = planned.script.file_name
    last = {one_line(result.about): result for result in results}
    lines = []
    for statement in planned.file.statements:
        result = last.get(one_line(statement.about))
        refused = result is not None and result.outcome is Outcome.REFUSED
        lines.append(ScriptLine(name, "refused" if refused else "run", statement, result))
    for statement in planned.script.set_apart:
        lines.append(ScriptLine(name, "left" if statement.set_apart == LEFT_OUT else "apart", statement))
    lines += [ScriptLine(name, "there", ScriptStatement(about, "")) for about in planned.script.already_there]
    return lines


def result_words(results: Sequence[StatementResult]) -> tuple[str, str]:
    """How a run ended, and the tone to say it in."""
    counts = {outcome: sum(each.outcome is outcome for each in results) for outcome in Outcome}
    parts = [f"{plural(counts[Outcome.APPLIED], 'statement')} applied"]
    if counts[Outcome.ALREADY_THERE]:
        parts.append(f"{counts[Outcome.ALREADY_THERE]} already there")
    if counts[Outcome.REFUSED]:
        parts.append(f"{counts[Outcome.REFUSED]} refused")
    mark, tone = ("✗", "$text-warning") if counts[Outcome.REFUSED] else ("✓", "$text-success")
    return f"{mark} {', '.join(parts)}.", tone


class ScriptScreen(WizardScreen, Generic[PlanT]):
    """Plans, shows, lets edit, applies, and looks again."""

    SIDE: ClassVar[Side]
    """Where the scripts are run."""

    PLANNING: ClassVar[str]
    """What planning does, as a present participle."""

    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "script_step.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "apply", "Apply", id="script.apply", tooltip="Run what is in the file; asks first."),
        Binding(
            "space", "leave_out", "Leave out", id="script.leave-out", tooltip="Take it out, or in again."
        ),
        Binding("v", "view", "View", id="script.view", tooltip="Read the whole script."),
        Binding("i", "edit", "Edit", id="script.edit", tooltip="Open the script in your editor."),
        Binding("d", "discard", "Discard", id="script.discard", show=False, tooltip="Drop your edits."),
        Binding("r", "plan", "Look again", id="script.plan", tooltip="Compare both servers again."),
        Binding("u", "undo", "Undo", id="script.undo", show=False, tooltip="Take back what this step did."),
        Binding(
            "e", "error_details", "Error", id="script.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self.planned: PlanT | None = None
        self._files: tuple[PlannedFile, ...] = ()
        self._results: tuple[StatementResult, ...] = ()
        self._failed: Failure | None = None
        self._shows_other = False

    # What a step brings.

    def make_plan(self) -> PlanT | Failure:
        """Look at both servers; runs on a job's thread."""
        raise NotImplementedError

    def scripts_of(self, planned: PlanT) -> tuple[Script, ...]:
        """The scripts of a plan, in the order in which they are run."""
        raise NotImplementedError

    def compose_head(self) -> Iterable[Widget]:
        """Widgets above the list."""
        return ()

    def plan_changed(self) -> None:
        """A plan has come; draw what :meth:`compose_head` made."""

    def planning_failed(self, failure: Failure) -> None:
        """No plan could be made; that is shown already."""

    def state_lines(self) -> list[Content]:
        """What else is to be said above the list, once there is a plan."""
        return []

    def applied(self, results: Sequence[StatementResult]) -> None:
        """Statements were run; a plan of what is left follows."""

    def nothing_to_do(self) -> str:
        """What is said when the plan is empty."""
        return f"Nothing to do on the {self.SIDE.value}."

    def explain(self, statement: ScriptStatement) -> Sequence[str]:
        """What there is to say about a statement, below its text."""
        return ()

    def drops_edits_after(self, results: Sequence[StatementResult]) -> bool:
        """Whether an edited file has served its purpose, so that what is left is planned anew."""
        return False

    def undo_script(self) -> Script | Failure | None:
        """What takes back what this step did; None: nothing can be. Runs on a job's thread."""
        return None

    CAN_UNDO: ClassVar[bool] = False

    def run_file(self, name: str) -> ScriptResult | Failure:
        """Run a generated file as it is now; runs on a job's thread."""
        return self.services.scripts.run(name)

    def run_undo(self, script: Script) -> ScriptResult | Failure:
        """Run what :meth:`undo_script` made; runs on a job's thread."""
        return self.services.scripts.run_now(self.SIDE, script)

    OTHER_COLUMNS: ClassVar[tuple[Column, ...]] = ()
    """Of a list that can take the statements' place; empty where there is none."""

    def other_rows(self) -> Sequence[OtherRow]:
        """What that list shows."""
        return ()

    # The frame.

    def compose_body(self) -> Iterable[Widget]:
        yield from self.compose_head()
        yield Static("", id="says", markup=False)
        yield FittedTable(_COLUMNS, id="statements")
        if self.OTHER_COLUMNS:
            other = FittedTable(self.OTHER_COLUMNS, id="other")
            other.display = False
            yield other
        with VerticalScroll(id="detail-box"):
            yield Static("", id="detail", markup=False)

    def opened(self) -> None:
        self._show()
        self._list.focus()
        self.action_plan()

    def resized(self) -> None:
        if self._list.fit():
            self._fill()

    @property
    def _list(self) -> FittedTable:
        """The list that is shown."""
        return self.query_one("#other" if self._shows_other else "#statements", FittedTable)

    @property
    def shows_other(self) -> bool:
        """Whether the other list has taken the statements' place."""
        return self._shows_other

    def show_other(self, shows_other: bool) -> None:
        """Put one list into the place of the other."""
        if self.OTHER_COLUMNS and shows_other is not self._shows_other:
            self._list.display = False
            self._shows_other = shows_other
            self._show()
            self._list.focus()

    def action_other(self) -> None:
        self.show_other(not self._shows_other)

    @property
    def _lines(self) -> list[ScriptLine]:
        return [line for planned in self._files for line in script_lines(planned, self._results)]

    @property
    def _to_run(self) -> int:
        return sum(len(planned.file.statements) for planned in self._files)

    def _marked(self) -> ScriptLine | None:
        """The marked statement."""
        lines = self._lines
        row = self._list.cursor_row
        is_there = not self._shows_other and self._list.row_count and row < len(lines)
        return lines[row] if is_there else None

    def marked_other(self) -> int | None:
        """Which line of the other list is marked."""
        row = self._list.cursor_row
        return row if self._shows_other and self._list.row_count and row < len(self.other_rows()) else None

    # Planning.

    def action_plan(self) -> None:
        if self.jobs.running:
            return
        self.notice(None)
        self._results = ()
        self._plan(over_edited=False)

    def _plan(self, *, over_edited: bool) -> None:
        self.start_job(
            "plan", self.PLANNING, partial(self._plan_and_write, over_edited=over_edited), self._planned
        )

    def _plan_and_write(self, *, over_edited: bool) -> tuple[PlanT, tuple[PlannedFile, ...]] | Failure:
        planned = self.make_plan()
        if isinstance(planned, Failure):
            return planned
        files = []
        for script in self.scripts_of(planned):
            wanted = self._without_left_out(script)
            file = self.services.scripts.generate(self.SIDE, wanted, over_edited=over_edited)
            if isinstance(file, Failure):
                return file
            files.append(PlannedFile(wanted, file))
        return planned, tuple(files)

    def _without_left_out(self, script: Script) -> Script:
        left_out = {
            about for name, about in self.services.migration.left_out_statements if name == script.file_name
        }
        return replace(
            script,
            statements=tuple(
                replace(one, set_apart=LEFT_OUT) if one.about in left_out and not one.set_apart else one
                for one in script.statements
            ),
        )

    def _planned(self, outcome: tuple[PlanT, tuple[PlannedFile, ...]] | Failure) -> None:
        self._failed = outcome if isinstance(outcome, Failure) else None
        if isinstance(outcome, Failure):
            self.notice(outcome)
            self.planning_failed(outcome)
        else:
            self.planned, self._files = outcome
            self.plan_changed()
        self._show()

    # Drawing.

    def _show(self) -> None:
        says = self.query_one("#says", Static)
        says.update(Content("\n").join(self._says()))
        self._fill()
        self.redraw_frame()
        self.refresh_bindings()

    def _says(self) -> list[Content]:
        lines: list[Content] = []
        if self._results:
            lines.append(plain(*result_words(self._results)))
        if self.planned is None:
            return lines
        lines += self.state_lines()
        count = self._to_run
        side = self.SIDE.value
        if count and self.services.dry_run:
            lines.append(
                plain(
                    f"{plural(count, 'statement')} would run on the {side}; this is a dry run.",
                    "$text-warning",
                )
            )
        elif count:
            lines.append(plain(f"{plural(count, 'statement')} to run on the {side}; x runs them."))
        else:
            lines.append(plain(f"✓ {self.nothing_to_do()}", "$text-success"))
        for planned in self._files:
            if planned.file.is_edited:
                name = planned.script.file_name
                lines.append(
                    plain(
                        f"{name} was edited by you: it is what x runs. d drops your edits.", "$text-warning"
                    )
                )
            notes = planned.script.notes
            lines += [plain(f"! {note}", "$text-warning") for note in notes[:_MOST_NOTES]]
            if len(notes) > _MOST_NOTES:
                lines.append(plain(f"! and {len(notes) - _MOST_NOTES} more; v reads them", "$text-warning"))
        return lines

    def _fill(self) -> None:
        rows = self._list
        rows.fit()
        marked = rows.cursor_row
        rows.clear()
        cells = (
            [row.cells for row in self.other_rows()]
            if self._shows_other
            else [self._cells(line) for line in self._lines]
        )
        for number, row in enumerate(cells):
            rows.add(str(number), row)
        if cells:
            rows.move_cursor(row=min(marked, len(cells) - 1))
        rows.display = bool(cells)
        self.query_one("#detail-box").display = bool(cells)
        self._show_detail()

    def _cells(self, line: ScriptLine) -> dict[str, Text]:
        word, tone = _WORDS[line.state]
        return {
            "state": cell(word, self.tone(tone)),
            "about": cell(line.statement.about),
            "file": cell(line.file_name, self.tone("quiet")),
        }

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        other = self.marked_other()
        if other is not None:
            self._draw_detail(self.other_rows()[other].detail)
        line = self._marked()
        if line is None:
            return
        parts = [Text(visible(line.statement.about), overflow="fold")]
        if line.statement.set_apart:
            parts.append(Text(f"Not run: {visible(line.statement.set_apart)}", style=self.tone("warn")))
        if line.result is not None and line.result.said:
            code = f" (SQLSTATE {line.result.sqlstate})" if line.result.sqlstate else ""
            took = human_milliseconds(line.result.seconds)
            parts.append(
                Text(
                    visible(f"PostgreSQL said after {took}: {line.result.said}{code}"), style=self.tone("bad")
                )
            )
        if line.statement.sql:
            parts.append(Text(visible_lines(f"{line.statement.sql};")))
        else:
            parts.append(Text("It is as it should be.", style=self.tone("good")))
        parts += [Text(visible(said)) for said in self.explain(line.statement)]
        self._draw_detail(Group(*parts))

    def _draw_detail(self, detail: Group) -> None:
        self.query_one("#detail", Static).update(detail)
        self.query_one("#detail-box", VerticalScroll).scroll_home(animate=False)

    # Leaving out, reading, editing.

    def action_leave_out(self) -> None:
        line = self._marked()
        if line is None or not line.can_be_left_out or self.jobs.running:
            return
        if self._file_of(line).file.is_edited:
            self.notify(f"{line.file_name} was edited by you; take it out there.", markup=False)
            return
        key = (line.file_name, line.statement.about)
        known = self.services.migration.left_out_statements
        self.remember(
            left_out_statements=tuple(one for one in known if one != key) if key in known else (*known, key)
        )
        self._files = tuple(self._rewritten(planned) for planned in self._files)
        self._show()

    def _rewritten(self, planned: PlannedFile) -> PlannedFile:
        put_back = tuple(
            replace(one, set_apart="") if one.set_apart == LEFT_OUT else one
            for one in planned.script.statements
        )
        wanted = self._without_left_out(replace(planned.script, statements=put_back))
        file = self.services.scripts.generate(self.SIDE, wanted)
        if isinstance(file, Failure):
            self.notice(file)
            return planned
        return PlannedFile(wanted, file)

    def _file_of(self, line: ScriptLine) -> PlannedFile:
        return next(one for one in self._files if one.script.file_name == line.file_name)

    def _shown_file(self) -> PlannedFile | None:
        """The file of the marked line, or the first."""
        line = self._marked()
        if line is not None:
            return self._file_of(line)
        return self._files[0] if self._files else None

    def action_view(self) -> None:
        planned = self._shown_file()
        if planned is not None:
            modal = TextModal(
                str(planned.file.path),
                planned.file.text,
                f"copy_of_{planned.script.file_name}",
                self.copy,
                large=True,
            )
            self.app.push_screen(modal)

    def copy_text(self) -> tuple[str, str] | None:
        other = self.marked_other()
        if other is not None:
            return f"{self.STEP.value}.txt", f"{self.other_rows()[other].text}\n"
        line = self._marked()
        if line is None or not line.statement.sql:
            return None
        return "statement.sql", f"{line.statement.sql};\n"

    def action_edit(self) -> None:
        planned = self._shown_file()
        command = self.services.scripts.editor()
        if planned is None or self.jobs.running:
            return
        if isinstance(command, Failure):
            self.notice(command)
            return
        failure = edit_file(self.app, command, planned.file.path)
        if failure is not None:
            self.notice(failure)
            return
        self.read_files()

    def read_files(self) -> None:
        """Read the files again; somebody may have edited them."""
        self.notice(None)
        files = []
        for planned in self._files:
            file = self.services.scripts.read(planned.script.file_name)
            if isinstance(file, Failure):
                self.notice(file)
                return
            files.append(replace(planned, file=file))
        self._files = tuple(files)
        self._show()

    def action_discard(self) -> None:
        is_edited = any(planned.file.is_edited for planned in self._files)
        # A file that could not be read was edited too.
        if self.jobs.running or not (is_edited or self._notice is not None):
            return
        modal = ConfirmModal(
            "Drop your edits?", "The script is planned and written anew.", act="Drop them", keep="Keep them"
        )
        self.app.push_screen(modal, self._discard)

    def _discard(self, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self._plan(over_edited=True)

    # Running.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "apply":
            return True if self._to_run and not self.jobs.running and not self.services.dry_run else None
        if action == "undo":
            return self.CAN_UNDO and not self.jobs.running
        return super().check_action(action, parameters)

    def action_apply(self) -> None:
        if not self.check_action("apply", ()):
            return
        # It may have been edited outside since it was shown.
        self.read_files()
        if self._notice is not None or not self._to_run:
            return
        text = "\n".join(
            f"{planned.script.file_name}: {plural(len(planned.file.statements), 'statement')}"
            for planned in self._files
            if planned.file.statements
        )
        endpoint = self.services.endpoint(self.SIDE)
        where = "" if endpoint is None else f" ({endpoint.database} on {endpoint.host}, as {endpoint.user})"
        text += f"\n\nOne by one on the {self.SIDE.value}{where}; what is refused does not stop the others."
        self.app.push_screen(ConfirmModal("Run it?", text, act="Run"), self._apply)

    def _apply(self, confirmed: bool | None) -> None:
        if confirmed:
            names = [planned.script.file_name for planned in self._files if planned.file.statements]
            self.start_job(
                "apply", f"running {', '.join(names)}", partial(self._run_files, names), self._applied
            )

    def _run_files(self, names: Sequence[str]) -> tuple[StatementResult, ...] | Failure:
        results: list[StatementResult] = []
        for name in names:
            result = self.run_file(name)
            if isinstance(result, Failure):
                return result
            results += result.results
        return tuple(results)

    def _applied(self, results: tuple[StatementResult, ...] | Failure) -> None:
        if isinstance(results, Failure):
            self.notice(results)
            return
        self._results = results
        self.applied(results)
        self._show()
        self._plan(over_edited=self.drops_edits_after(results))

    # Undoing.

    def action_undo(self) -> None:
        if self.check_action("undo", ()):
            self.start_job("undo", "looking at what can be undone", self.undo_script, self._ask_undo)

    def _ask_undo(self, script: Script | Failure | None) -> None:
        if isinstance(script, Failure):
            self.notice(script)
        elif script is not None and script.set_apart and not script.to_run:
            reasons = "\n".join(one.set_apart for one in script.set_apart)
            self.notice(Failure("Nothing can be undone now", hint=reasons, side=self.SIDE))
        elif script is None or not script.to_run:
            self.notify("There is nothing to undo.", markup=False)
        elif self.services.dry_run:
            self.notify("This is a dry run; nothing was done that could be undone.", markup=False)
        else:
            text = "\n".join(
                [f"{statement.sql};" for statement in script.to_run]
                + [f"\nStays: {one.about}: {one.set_apart}" for one in script.set_apart]
            )
            modal = ConfirmModal(f"Undo on the {self.SIDE.value}?", text, act="Undo")
            self.app.push_screen(modal, partial(self._undo, script))

    def _undo(self, script: Script, confirmed: bool | None) -> None:
        if confirmed:
            self.start_job(
                "undo",
                "undoing",
                partial(self.run_undo, script),
                self._undone,
            )

    def _undone(self, result: ScriptResult | Failure) -> None:
        if isinstance(result, Failure):
            self.notice(result)
            return
        self._results = result.results
        if result.refused:
            refused = result.refused[0]
            self.notice(
                Failure(
                    f"The {self.SIDE.value} refused to undo {plural(len(result.refused), 'statement')}",
                    f"{refused.about}: {refused.said}",
                    "Mend what it says, then press u again",
                    refused.sqlstate,
                    self.SIDE,
                )
            )
        self.undone(result.results)
        self._show()
        self._plan(over_edited=False)

    def undone(self, results: Sequence[StatementResult]) -> None:
        """What this step did was taken back; a plan of what is missing follows."""

    # The gate.

    def next_blocked(self) -> str | None:
        if self.planned is None and self._failed is None:
            return "both servers have not been compared; r compares them"
        return None

    def next_hint(self) -> str:
        following = self.STEP.following
        assert following is not None
        if self._failed is not None:
            return f"Next goes on to {following.title} without it; e says why"
        if self._to_run and not self.services.dry_run:
            return f"{plural(self._to_run, 'statement')} not run; Next goes on to {following.title} without"
        return super().next_hint()
