"""A question that is answered by typing a name, for what cannot be taken back."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from screens.action_button import ActionButton
from screens.format import visible, visible_lines
from screens.modals.box import ModalBox


class ConfirmNameModal(ModalBox[bool]):
    """Asks for a name to be typed; True only when it matched."""

    KEYS_LINE = "type the name and press enter, esc closes"

    def __init__(self, title: str, text: str, *, name: str, act: str) -> None:
        super().__init__(title)
        self._text = text
        self._required_name = name
        self._act = act

    def compose_box(self) -> Iterable[Widget]:
        with VerticalScroll(can_focus=False):
            yield Static(visible_lines(self._text), id="text", markup=False)
        yield Static(
            Content.assemble("Type ", (visible(self._required_name), "bold"), " to confirm:"), id="ask"
        )
        typed = Input(id="typed", compact=True)
        typed.cursor_blink = False
        yield typed
        yield Static("", id="said", markup=False)
        with Horizontal(id="buttons"):
            yield ActionButton("Cancel", id="keep")
            yield ActionButton(self._act, id="act")

    def on_mount(self) -> None:
        self.query_one("#typed").focus()

    @on(Input.Submitted, "#typed")
    @on(Button.Pressed, "#act")
    def _confirm(self) -> None:
        typed = self.query_one("#typed", Input).value
        # A name may hold a character that cannot be typed; then it is typed the way it is shown.
        if typed in (self._required_name, visible(self._required_name)):
            self.dismiss(True)
            return
        self.query_one("#said", Static).update(
            Content(f"You typed “{visible(typed)}”; it has to be “{visible(self._required_name)}”.")
        )

    @on(Button.Pressed, "#keep")
    def _keep_pressed(self) -> None:
        self.dismiss(False)
