"""The frame of everything that opens over a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

Result = TypeVar("Result")


class ModalBox(ModalScreen[Result]):
    """A titled box; escape closes it without doing anything."""

    CSS_PATH = "modal.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="modal.close", tooltip="Close without doing anything."),
        Binding("ctrl+q", "close", "Close", id="modal.close-anywhere", show=False, priority=True),
        Binding("ctrl+c", "close", "Close", id="modal.interrupt", show=False),
    ]
    KEYS_LINE: ClassVar[str] = "tab and arrows move, enter presses, esc closes"

    def __init__(self, title: str) -> None:
        super().__init__()
        self._box_title = title

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(self._box_title, id="title", markup=False)
            yield from self.compose_box()
            yield Static(self.KEYS_LINE, id="keys", markup=False)

    def compose_box(self) -> Iterable[Widget]:
        """The widgets between the title and the line of keys."""
        return ()

    def action_close(self) -> None:
        self.dismiss(None)
