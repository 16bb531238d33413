"""A long text to read: a statement, a script, the details of a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from screens.format import visible_lines
from screens.modals.box import ModalBox

Copy = Callable[[str, str], None]
"""Takes a file name and a text."""


class TextModal(ModalBox[None]):
    """Shows a text as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy", id="text.copy", tooltip="Copy the text, and write it to a file."),
        Binding("q", "close", "Close", id="text.close", show=False),
        Binding("enter", "close", "Close", id="text.enter", show=False),
    ]
    KEYS_LINE = "arrows scroll, y copies and writes a file, esc closes"

    def __init__(self, title: str, text: str, file_name: str, copy: Copy, *, large: bool = False) -> None:
        super().__init__(title)
        self._text = text
        self._file_name = file_name
        self._copy = copy
        self.set_class(large, "-large")

    def compose_box(self) -> Iterable[Widget]:
        with VerticalScroll():
            yield Static(visible_lines(self._text), id="text", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_copy(self) -> None:
        self._copy(self._file_name, self._text)
