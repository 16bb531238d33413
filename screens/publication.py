"""The step Publication: what the source publishes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.catalog.planned import PublicationOffers, PublicationReview
from engine.errors import Failure, Side
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement, StatementResult
from screens.format import plain, plural, visible
from screens.migration import Step
from screens.modals.publications import PublicationsModal
from screens.script_step import ScriptScreen
from screens.services import MigrationServices
from screens.step_services.publication import FILE_NAME

_HELP = """
The source publishes changes of the tables in a publication. This step compares the one that is named with the
chosen tables and shows every statement that is needed, each with its reason; i opens the file in your editor,
x runs what is in it on the source. Column lists and row filters that are there stay.

o offers the publications that the source has. s publishes a schema as such when every table of it is chosen,
also what is made in it later. k publishes inserts and truncates only, for tables that nobody updates. Never
is a publication made FOR ALL TABLES.

What was there before is remembered first: u drops the publication that was made here, and gives one that was
there before back what it had; so does the cleanup at the end.
"""

_SHOWN_SLOTS = 3


class PublicationScreen(ScriptScreen[PublicationReview]):
    """Makes a publication what was chosen."""

    STEP = Step.PUBLICATION
    QUESTION = "What has to change on the source so that it publishes the chosen tables?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.SOURCE
    PLANNING: ClassVar[str] = "comparing with the source's publication"
    CAN_UNDO: ClassVar[bool] = True
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "script_step.tcss", "publication.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "offers", "Others", id="publication.offers", tooltip="Publications that are there."),
        Binding(
            "s",
            "schemas",
            "Schemas",
            id="publication.schemas",
            show=False,
            tooltip="Whole schemas or tables.",
        ),
        Binding(
            "k", "kinds", "Kinds", id="publication.kinds", show=False, tooltip="All changes or inserts only."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._is_refused = False

    def compose_head(self) -> Iterable[Widget]:
        with Horizontal(classes="row"):
            yield Static("Publication", classes="label", markup=False)
            name = Input(value=self._first_name(), id="publication", compact=True)
            name.cursor_blink = False
            yield name
        yield Static("", id="choices", classes="quiet", markup=False)

    def _first_name(self) -> str:
        migration = self.services.migration
        return migration.publication or f"livesync_{migration.subscription}"

    # Choosing.

    @on(Input.Changed, "#publication")
    def _renamed(self) -> None:
        if self.planned is not None and self.planned.plan.publication != self._typed_name():
            self.planned, self._files, self._results = None, (), ()
            self._show()

    @on(Input.Submitted, "#publication")
    def _name_given(self) -> None:
        self.query_one("#statements").focus()
        self.action_plan()

    def _typed_name(self) -> str:
        return self.query_one("#publication", Input).value.strip()

    def action_plan(self) -> None:
        name = self._typed_name()
        if self.jobs.running or not name:
            self.redraw_frame()
            return
        self.remember(publication=name)
        self._draw_choices()
        super().action_plan()

    def _draw_choices(self) -> None:
        migration = self.services.migration
        schemas = "whole schemas" if migration.publishes_whole_schemas else "the chosen tables"
        kinds = "all changes" if migration.publishes_updates else "inserts and truncates only"
        self.query_one("#choices", Static).update(f"s: {schemas}   k: {kinds}")

    def action_schemas(self) -> None:
        if not self.jobs.running:
            self.remember(publishes_whole_schemas=not self.services.migration.publishes_whole_schemas)
            self.action_plan()

    def action_kinds(self) -> None:
        if not self.jobs.running:
            self.remember(publishes_updates=not self.services.migration.publishes_updates)
            self.action_plan()

    def action_offers(self) -> None:
        if not self.jobs.running:
            self.notice(None)
            self.start_job(
                "offers", "reading the source's publications", self.services.publication.offers, self._offer
            )

    def _offer(self, offers: PublicationOffers | Failure) -> None:
        if isinstance(offers, Failure):
            self.notice(offers)
        elif not offers.offers:
            self.notify("The source has no publication yet.", markup=False)
        else:
            self.app.push_screen(PublicationsModal(offers, self._typed_name()), self._chosen)

    def _chosen(self, name: str | None) -> None:
        if name is not None:
            self.query_one("#publication", Input).value = name
            self.action_plan()

    def _says(self) -> list[Content]:
        failed = self._failed
        self.query_one("#says").set_class(failed is not None, "-failed")
        if failed is None:
            return super()._says()
        # The line beside the buttons has no room for what is in the way.
        lines = [plain(f"✗ {failed.title}.", "$text-error")]
        lines += [plain(part) for part in (failed.detail, failed.hint) if part]
        return lines

    # What the frame asks for.

    def make_plan(self) -> PublicationReview | Failure:
        planned = self.services.publication.plan()
        self._is_refused = isinstance(planned, Failure)
        return planned

    def planning_failed(self, failure: Failure) -> None:
        # A script of another choice must not be run. One that cannot be read may be edited.
        if self._is_refused:
            self.planned, self._files = None, ()

    def scripts_of(self, planned: PublicationReview) -> tuple[Script, ...]:
        plan = planned.plan
        rights = tuple(
            ScriptStatement(right.what, right.statement, "somebody who may has to run it; then look again")
            for right in plan.missing_rights
        )
        statements = tuple(ScriptStatement(one.why, one.sql) for one in plan.statements)
        return (
            Script(
                FILE_NAME,
                f"Publication {plan.publication} of the chosen tables",
                (*rights, *statements),
                notes=_notes(planned),
            ),
        )

    def nothing_to_do(self) -> str:
        tables = plural(len(self.services.migration.tables), "chosen table")
        if not self.services.migration.publishes_updates:
            return f"The source publishes inserts and truncates of the {tables}."
        return f"The source publishes the {tables}."

    def run_file(self, name: str) -> ScriptResult | Failure:
        return self.services.publication.apply()

    def drops_edits_after(self, results: Sequence[StatementResult]) -> bool:
        return all(result.outcome is not Outcome.REFUSED for result in results)

    def undo_script(self) -> Script | Failure:
        return self.services.publication.plan_undo()

    def run_undo(self, script: Script) -> ScriptResult | Failure:
        return self.services.publication.undo()

    def undone(self, results: Sequence[StatementResult]) -> None:
        refused = [result for result in results if result.outcome is Outcome.REFUSED]
        if refused:
            said = "\n".join(f"{result.about}: {result.said}" for result in refused)
            title = f"{plural(len(refused), 'statement')} refused while taking it back"
            self.notice(Failure(title, hint=said, side=Side.SOURCE))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # A publication is made whole; who wants another one edits the file.
        if action == "leave_out":
            return False
        return super().check_action(action, parameters)

    # The gate.

    def next_blocked(self) -> str | None:
        if not self._typed_name():
            return "the publication needs a name"
        if self.services.dry_run and (self.planned is not None or self._failed is not None):
            return None
        if self._failed is not None:
            return "the publication cannot be made like this; r looks again"
        if self.planned is None:
            return "the source has not been compared; r compares"
        if self.planned.plan.statements:
            return f"{plural(len(self.planned.plan.statements), 'statement')} not applied on the source yet"
        return None


def _notes(review: PublicationReview) -> tuple[str, ...]:
    plan = review.plan
    notes = list(plan.notes)
    if review.whole_schemas_asked and not review.schemas:
        notes.insert(
            0, "No schema is chosen whole, or the source is older than PostgreSQL 15: tables are listed"
        )
    if review.inserts_only:
        notes.insert(0, "Updates and deletes will not reach the target")
    if plan.statements and not plan.is_new and review.other_slots:
        named = ", ".join(map(visible, review.other_slots[:_SHOWN_SLOTS]))
        more = len(review.other_slots) - _SHOWN_SLOTS
        named += f" and {more} more" if more > 0 else ""
        notes.insert(0, f"It is there already; who reads the slots {named} may get what it is changed into")
    return tuple(notes)
