"""Step 6: what the source publishes, and how updates and deletes name their row."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from engine.catalog.planned import PlannedStatement, PublicationPlan
from engine.errors import Failure
from screens.action_button import ActionButton
from screens.fitted_table import Column, FittedTable
from screens.format import cell, plain, plural
from screens.migration import Step
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
The source publishes changes of the tables in a publication. This step compares the publication with the
chosen tables and shows every statement that is needed on the source, each with its reason; enter on one
shows it in full. Apply runs them in order.

A table without a primary key needs a replica identity, or its updates and deletes would fail on the
source as soon as it is published. To undo: DROP PUBLICATION …, and ALTER TABLE … REPLICA IDENTITY DEFAULT.
"""


_COLUMNS = (Column("#", "number", width=3, right=True), Column("Statement on the source", "sql", weight=1))


def plan_script(plan: PublicationPlan) -> str:
    """All statements with their reasons as comments, to run by hand."""
    return "\n\n".join(f"-- {statement.why}\n{_ended(statement.sql)}" for statement in plan.statements) + "\n"


def _ended(sql: str) -> str:
    return sql if sql.rstrip().endswith(";") else f"{sql};"


class PublicationScreen(WizardScreen):
    """Shows the plan and applies it."""

    STEP = Step.PUBLICATION
    QUESTION = "What has to change on the source so that it publishes the chosen tables?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "publication.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "View", id="publication.view", tooltip="Read the marked statement in full."),
        Binding("w", "write", "Write", id="publication.write", tooltip="Write all statements to a file."),
        Binding("r", "plan", "Look again", id="publication.plan", tooltip="Compare with the source again."),
        Binding(
            "e", "error_details", "Error", id="publication.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._plan: PublicationPlan | None = None
        self._applied_count = 0

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(classes="row"):
            yield Static("Publication", classes="label", markup=False)
            name = Input(value=self._first_name(), id="publication", compact=True)
            name.cursor_blink = False
            yield name
        yield Static("", id="says", markup=False)
        yield FittedTable(_COLUMNS, id="statements")
        yield Static("", id="why", markup=False)
        with Horizontal(id="apply-row", classes="row"):
            yield ActionButton("Apply on the source", id="apply", classes="-act")

    def _first_name(self) -> str:
        migration = self.services.migration
        return migration.publication or f"livesync_{migration.subscription}"

    def opened(self) -> None:
        self._show()
        self._statements.focus()
        self.action_plan()

    def resized(self) -> None:
        if self._statements.fit():
            self._show()

    @property
    def _statements(self) -> FittedTable:
        return self.query_one("#statements", FittedTable)

    @on(Input.Changed, "#publication")
    def _renamed(self) -> None:
        if self._plan is not None and self._plan.publication != self._typed_name():
            self._plan = None
            self._show()

    @on(Input.Submitted, "#publication")
    def _name_given(self) -> None:
        self.action_plan()

    def _typed_name(self) -> str:
        return self.query_one("#publication", Input).value.strip()

    def action_plan(self) -> None:
        name = self._typed_name()
        if self.jobs.running or not name:
            self.redraw_frame()
            return
        self.notice(None)
        self.remember(publication=name)
        self.start_job(
            "plan", "comparing with the source's publication", self.services.plan_publication, self._planned
        )

    def _planned(self, plan: PublicationPlan | Failure) -> None:
        if isinstance(plan, Failure):
            self.notice(plan)
            return
        self._plan = plan
        self._show()
        if plan.statements:
            self._statements.focus()
        if self.services.dry_run:
            self.action_write()

    def _show(self) -> None:
        plan = self._plan
        rows = self._statements
        rows.fit()
        rows.clear()
        for number, statement in enumerate(plan.statements if plan else (), 1):
            rows.add(str(number), {"number": cell(str(number), right=True), "sql": cell(statement.sql)})
        waiting = plan is not None and bool(plan.statements)
        rows.display = waiting
        self.query_one("#apply-row").display = waiting
        self.query_one("#why").display = waiting
        says = self.query_one("#says", Static)
        if plan is None:
            says.update("")
        elif plan.statements:
            says.update(
                plain(f"{plural(len(plan.statements), 'statement')} to run, nothing has been run yet:")
            )
        else:
            done = f" {plural(self._applied_count, 'statement')} applied." if self._applied_count else ""
            tables = plural(len(self.services.migration.tables), "chosen table")
            says.update(plain(f"✓ The source publishes the {tables}.{done}", "$text-success"))
        self._say_why()
        self.redraw_frame()

    def _marked(self) -> PlannedStatement | None:
        rows = self._statements
        if self._plan is None or not rows.row_count:
            return None
        return self._plan.statements[rows.cursor_row]

    def _say_why(self) -> None:
        statement = self._marked()
        text = "" if statement is None else f"Why: {statement.why}"
        self.query_one("#why", Static).update(plain(text, "dim"))

    def on_data_table_row_highlighted(self) -> None:
        self._say_why()

    def on_data_table_row_selected(self) -> None:
        self.action_view()

    def action_view(self) -> None:
        statement = self._marked()
        if statement is not None:
            text = f"{_ended(statement.sql)}\n\nWhy\n{statement.why}"
            self.app.push_screen(TextModal("Statement on the source", text, "statement.sql", self.copy))

    def action_write(self) -> None:
        if self._plan is None or not self._plan.statements:
            return
        written = self.services.write_file("publication.sql", plan_script(self._plan))
        if isinstance(written, Failure):
            self.notice(written)
        else:
            self.notify(f"Written to {written}", markup=False)

    def copy_text(self) -> tuple[str, str] | None:
        if self._plan is None or not self._plan.statements:
            return None
        return "publication.sql", plan_script(self._plan)

    @on(Button.Pressed, "#apply")
    def _apply(self) -> None:
        if self._plan is None or self.jobs.running or self.services.dry_run:
            return
        self.notice(None)
        self.start_job("apply", "changing the source", partial(self._run, self._plan), self._applied)

    def _run(self, plan: PublicationPlan) -> int | Failure:
        return self.services.apply_publication(plan) or len(plan.statements)

    def _applied(self, outcome: int | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        self._applied_count = outcome
        self.action_plan()

    def next_blocked(self) -> str | None:
        if not self._typed_name():
            return "the publication needs a name"
        if self._plan is None:
            return "the source has not been compared; r compares"
        if self._plan.statements and not self.services.dry_run:
            return f"{plural(len(self._plan.statements), 'statement')} not applied on the source yet"
        return None
