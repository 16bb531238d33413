"""A question with several answers; the one that does nothing has the focus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from screens.action_button import ActionButton
from screens.format import visible_lines
from screens.modals.box import ModalBox


class ChoiceModal(ModalBox[str]):
    """Asks what to do; the key of the chosen answer, or empty for none."""

    def __init__(self, title: str, text: str, choices: Mapping[str, str]) -> None:
        """Prepare.

        Args:
            title: On the frame.
            text: What it is about.
            choices: What each button says, by the key that is returned; keys are widget ids.
        """
        super().__init__(title)
        self._text = text
        self._choices = choices
        # However long the text is, the buttons stay in sight.
        self.add_class("-large")

    def compose_box(self) -> Iterable[Widget]:
        with VerticalScroll(can_focus=False):
            yield Static(visible_lines(self._text), id="text", markup=False)
        with Horizontal(id="buttons"):
            yield ActionButton("Cancel", id="keep")
            for key, label in self._choices.items():
                yield ActionButton(label, id=key)

    def on_mount(self) -> None:
        self.query_one("#keep").focus()

    def key_left(self) -> None:
        self.focus_previous()

    def key_right(self) -> None:
        self.focus_next()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id if event.button.id in self._choices else "")
