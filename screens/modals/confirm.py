"""A question before something that is hard to reverse; the safe answer has the focus."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from screens.action_button import ActionButton
from screens.format import visible_lines
from screens.modals.box import ModalBox


class ConfirmModal(ModalBox[bool]):
    """Asks whether to do something; True only when its button was pressed."""

    def __init__(self, title: str, text: str, *, act: str, keep: str = "Cancel") -> None:
        super().__init__(title)
        self._text = text
        self._act = act
        self._keep = keep

    def compose_box(self) -> Iterable[Widget]:
        with VerticalScroll(can_focus=False):
            yield Static(visible_lines(self._text), id="text", markup=False)
        with Horizontal(id="buttons"):
            yield ActionButton(self._keep, id="keep")
            yield ActionButton(self._act, id="act")

    def on_mount(self) -> None:
        self.query_one("#keep").focus()

    def key_left(self) -> None:
        self.focus_previous()

    def key_right(self) -> None:
        self.focus_next()

    @on(Button.Pressed, "#act")
    def _act_pressed(self) -> None:
        self.dismiss(True)

    @on(Button.Pressed, "#keep")
    def _keep_pressed(self) -> None:
        self.dismiss(False)
