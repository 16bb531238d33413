"""The step Done: the report, and what is left to clean up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import Failure, Side
from screens.format import plain, plural, visible_lines
from screens.migration import Step
from screens.modals.confirm import ConfirmModal
from screens.modals.confirm_name import ConfirmNameModal
from screens.report import report_json, report_markdown
from screens.step_services.cleanup import CleanupOutcome, CleanupPlan
from screens.wizard import WizardScreen

_HELP = """
The cutover is done: the target is the database. The report is written to a file and printed again after
the wizard is left.

The replication slot on the source still keeps WAL. When the application runs well on the target, d cleans
up: it shows what there is to do and asks for the subscription's name. On the source it drops the slots, then
the publication that the wizard made (one that was there before gets back what it had), then puts back the
replica identities that were set; on the target it removes our state. Rows are not touched. What is refused
stays, is said, and d tries it again.

If the source was made read-only for the cutover, it stays so until u brings back what was set before.
"""


class DoneScreen(WizardScreen):
    """Shows the report."""

    STEP = Step.DONE
    QUESTION = "The cutover is done. Point the application at the target."
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "done.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "drop", "Clean up", id="done.drop", tooltip="Take back what we left; asks first."),
        Binding("u", "undo_read_only", "Let write", id="done.undo", tooltip="Undo read-only on the source."),
        Binding("e", "error_details", "Error", id="done.error", show=False, tooltip="Details of the error."),
    ]

    def compose_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="report"):
            yield Static("", id="text", markup=False)
        yield Static("", id="written", classes="quiet", markup=False)

    def opened(self) -> None:
        self.query_one("#report").focus()
        self._show()
        if self.services.migration.not_migrated is None:
            cutover = self.services.cutover
            self.start_job(
                "left-out", "looking what was left out", cutover.not_migrated, self._left_out, quiet=True
            )

    def _left_out(self, found: tuple[str, ...] | Failure) -> None:
        if not isinstance(found, Failure):
            self.remember(not_migrated=found)
            self._show()

    def _report(self) -> str:
        statements = self.services.cutover.source_changes()
        return report_markdown(self.services.migration, self.services.drop_command(), statements)

    def _show(self) -> None:
        text = self._report()
        self.query_one("#text", Static).update(visible_lines(text))
        written = self.services.write_file("report.md", text)
        if isinstance(written, Path):
            document = report_json(self.services.migration, self.services.cutover.source_changes())
            second = self.services.write_file("report.json", document)
            written = second if isinstance(second, Failure) else written
        line = self.query_one("#written", Static)
        if isinstance(written, Path):
            line.update(plain(f"Written to {written} and report.json"))
        else:
            self.notice(written)

    def copy_text(self) -> tuple[str, str] | None:
        return "report.md", self._report()

    def back_step(self) -> Step | None:
        return None

    def next_blocked(self) -> str | None:
        return None

    def next_hint(self) -> str:
        migration = self.services.migration
        if migration.dropped_at is None:
            return "The slot on the source keeps WAL until it is dropped: d cleans up"
        if migration.publications or migration.identities:
            return "Slots are gone; something of ours is left on the source: d tries again"
        return "Everything is cleaned up; q leaves"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "undo_read_only":
            return bool(self.services.migration.read_only)
        return super().check_action(action, parameters)

    def action_undo_read_only(self) -> None:
        if self.jobs.running or not self.services.migration.read_only:
            return
        said = "\n".join(f"  {record.words}" for record in self.services.migration.read_only)
        modal = ConfirmModal(
            "Let the source write again?",
            "What is written there is not carried over any more. default_transaction_read_only comes back to "
            f"what it was for\n{said}",
            act="Let it write",
        )
        self.app.push_screen(modal, self._undo_read_only)

    def _undo_read_only(self, confirmed: bool | None) -> None:
        def undo() -> bool | Failure:
            return self.services.cutover.undo_read_only() or True

        if confirmed:
            self.notice(None)
            self.start_job("undo", "letting the source write again", undo, self._undone)

    def _undone(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        self._show()
        self.refresh_bindings()
        self.redraw_frame()

    def action_drop(self) -> None:
        migration = self.services.migration
        is_clean = not (migration.publications or migration.identities or migration.created_user)
        if (migration.dropped_at is not None and is_clean) or self.jobs.running:
            return
        self.notice(None)
        self.start_job("plan", "looking at what is left", self.services.cleanup.plan, self._ask)

    def _ask(self, plan: CleanupPlan | Failure) -> None:
        if isinstance(plan, Failure):
            self.notice(plan)
            return
        name = self.services.migration.subscription
        modal = ConfirmNameModal("Clean up both servers?", cleanup_text(plan, name), name=name, act="Drop")
        self.app.push_screen(modal, self._clean_up)

    def _clean_up(self, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self.start_job("drop", "cleaning up both servers", self.services.cleanup.run, self._cleaned_up)

    def _cleaned_up(self, outcome: CleanupOutcome | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        if self.services.migration.dropped_at is None:
            self.remember(dropped_at=self.services.now())
        if outcome.refused:
            said = "\n".join(f"{one.about}: {one.said}" for one in outcome.refused)
            title = f"{plural(len(outcome.refused), 'statement')} refused while cleaning up"
            self.notice(Failure(title, hint=said, side=Side.SOURCE))
        self._show()
        self.redraw_frame()


def cleanup_text(plan: CleanupPlan, subscription: str) -> str:
    """What a cleanup would do, in its order."""
    to_run = [f"  {one.sql};" for one in plan.statements if not one.set_apart]
    everything = (*plan.statements, *plan.of_the_role)
    stays = [f"  {one.about}: {one.set_apart}" for one in everything if one.set_apart]
    of_the_role = [f"  {one.sql};" for one in plan.of_the_role if not one.set_apart]
    return "\n".join(
        [
            "After this the replication cannot be resumed. In this order:",
            "",
            *(f"Source: drops the slot {slot}" for slot in plan.slots or ("(none is left)",)),
            f"Target: removes the state of {subscription} in _ts_live_sync; rows stay",
            *(["Source: runs", *to_run] if to_run else []),
            *(["Target: runs", *(f"  {one.sql};" for one in plan.on_target)] if plan.on_target else []),
            *(["Source, as the role of the first connection: runs", *of_the_role] if of_the_role else []),
            *(["Stays as it is:", *stays] if stays else []),
        ]
    )
