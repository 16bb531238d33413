"""Asks for the path of a file on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from screens.action_button import ActionButton
from screens.format import visible
from screens.modals.box import ModalBox


class PathModal(ModalBox[str]):
    """Returns what was typed, or None when the person closes it."""

    KEYS_LINE: ClassVar[str] = "enter goes on, esc closes"

    def __init__(self, title: str, text: str, path: str, *, act: str) -> None:
        super().__init__(title)
        self._text = text
        self._path = path
        self._act = act

    def compose_box(self) -> Iterable[Widget]:
        yield Static(visible(self._text), id="text", markup=False)
        typed = Input(self._path, id="typed", compact=True, select_on_focus=False)
        typed.cursor_blink = False
        yield typed
        with Horizontal(id="buttons"):
            yield ActionButton("Cancel", id="keep")
            yield ActionButton(self._act, id="act")

    def on_mount(self) -> None:
        self.query_one("#typed").focus()

    @on(Input.Submitted, "#typed")
    @on(Button.Pressed, "#act")
    def _use(self) -> None:
        typed = self.query_one("#typed", Input).value.strip()
        if typed:
            self.dismiss(typed)

    @on(Button.Pressed, "#keep")
    def _keep_pressed(self) -> None:
        self.dismiss(None)
