"""Asks for a password that was not stored."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from screens.action_button import ActionButton
from screens.format import visible, visible_lines
from screens.modals.box import ModalBox


class PasswordModal(ModalBox[str]):
    """Returns the password, or None when the person closes it."""

    KEYS_LINE = "enter goes on, esc closes"

    def __init__(self, side: str, where: str, said: str) -> None:
        super().__init__(f"Password of the {side}")
        self._where = where
        self._said = said

    def compose_box(self) -> Iterable[Widget]:
        yield Static(visible(self._where), id="text", markup=False)
        yield Static(visible_lines(self._said), id="said", markup=False)
        yield Static("It stays in this program's memory and is not written anywhere.", classes="quiet")
        typed = Input(id="typed", password=True, compact=True)
        typed.cursor_blink = False
        yield typed
        with Horizontal(id="buttons"):
            yield ActionButton("Cancel", id="keep")
            yield ActionButton("Use it", id="act")

    def on_mount(self) -> None:
        self.query_one("#typed").focus()

    @on(Input.Submitted, "#typed")
    @on(Button.Pressed, "#act")
    def _use(self) -> None:
        self.dismiss(self.query_one("#typed", Input).value)

    @on(Button.Pressed, "#keep")
    def _keep_pressed(self) -> None:
        self.dismiss(None)
