"""Step 10: the report, and what is left to clean up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import Failure
from screens.format import plain, visible_lines
from screens.migration import Step
from screens.modals.confirm_name import ConfirmNameModal
from screens.report import report_text
from screens.wizard import WizardScreen

_HELP = """
The cutover is done: the target is the database. The report is written to a file and printed again after
the wizard is left.

The replication slot on the source still keeps WAL. When the application runs well on the target, d drops
the slot on the source and our state on the target; it asks for the subscription's name. Rows are not
touched, and the publication stays: DROP PUBLICATION removes it when nothing else uses it.
"""


class DoneScreen(WizardScreen):
    """Shows the report."""

    STEP = Step.DONE
    QUESTION = "The cutover is done. Point the application at the target."
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "done.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "drop", "Drop", id="done.drop", tooltip="Remove the slot and our state; asks first."),
        Binding("e", "error_details", "Error", id="done.error", show=False, tooltip="Details of the error."),
    ]

    def compose_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="report"):
            yield Static("", id="text", markup=False)
        yield Static("", id="written", classes="quiet", markup=False)

    def opened(self) -> None:
        self.query_one("#report").focus()
        self._show()

    def _report(self) -> str:
        return report_text(self.services.migration, self.services.drop_command())

    def _show(self) -> None:
        text = self._report()
        self.query_one("#text", Static).update(visible_lines(text))
        written = self.services.write_file("report.txt", text)
        line = self.query_one("#written", Static)
        if isinstance(written, Path):
            line.update(plain(f"Written to {written}"))
        else:
            self.notice(written)

    def copy_text(self) -> tuple[str, str] | None:
        return "report.txt", self._report()

    def back_step(self) -> Step | None:
        return None

    def next_blocked(self) -> str | None:
        return None

    def next_hint(self) -> str:
        if self.services.migration.dropped_at is not None:
            return "Everything is cleaned up; q leaves"
        return "The slot on the source keeps WAL until it is dropped: d drops it"

    def action_drop(self) -> None:
        migration = self.services.migration
        if migration.dropped_at is not None or self.jobs.running:
            return
        text = (
            f"Removes the slot live_sync_{migration.subscription} on the source and the state in "
            "_ts_live_sync on the target. After that the replication cannot be resumed. It does what "
            "this command does:\n\n"
            f"{self.services.drop_command()}"
        )
        modal = ConfirmNameModal("Clean up both servers?", text, name=migration.subscription, act="Drop")
        self.app.push_screen(modal, self._drop)

    def _drop(self, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(None)
            self.start_job("drop", "cleaning up both servers", self._call_drop, self._dropped)

    def _call_drop(self) -> bool | Failure:
        return self.services.drop() or True

    def _dropped(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        self.remember(dropped_at=self.services.now())
        self._show()
        self.redraw_frame()
