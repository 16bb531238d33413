"""The question before the wizard is left: what happens to the replication."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from screens.action_button import ActionButton
from screens.format import visible_lines
from screens.modals.box import ModalBox


class Leaving(Enum):
    """What was answered, when it was not "stay"."""

    RUN_ON = "run on"
    STOP = "stop"


class LeaveModal(ModalBox[Leaving]):
    """Asks before leaving, and says what stays behind; staying has the focus."""

    def __init__(self, text: str, *, act: str, may_run_on: bool) -> None:
        super().__init__("Leave livesync-tui?")
        self._text = text
        self._act = act
        self._may_run_on = may_run_on

    def compose_box(self) -> Iterable[Widget]:
        with VerticalScroll(can_focus=False):
            yield Static(visible_lines(self._text), id="text", markup=False)
        with Horizontal(id="buttons"):
            yield ActionButton("Keep looking", id="keep")
            if self._may_run_on:
                yield ActionButton("Keep it running", id="run-on")
            yield ActionButton(self._act, id="act")

    def on_mount(self) -> None:
        self.query_one("#keep").focus()

    def key_left(self) -> None:
        self.focus_previous()

    def key_right(self) -> None:
        self.focus_next()

    @on(Button.Pressed, "#act")
    def _act_pressed(self) -> None:
        self.dismiss(Leaving.STOP)

    @on(Button.Pressed, "#run-on")
    def _run_on_pressed(self) -> None:
        self.dismiss(Leaving.RUN_ON)

    @on(Button.Pressed, "#keep")
    def _keep_pressed(self) -> None:
        self.dismiss(None)
