"""Shows or copies a password, each only when asked; it is written nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from engine.connection.secret import Secret
from screens.format import visible, visible_lines
from screens.modals.box import ModalBox

_HIDDEN = "…"


class SecretModal(ModalBox[None]):
    """Keeps a secret out of sight until v is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "View", id="secret.view", tooltip="Show it, or hide it again."),
        Binding("y", "copy", "Copy", id="secret.copy", tooltip="Send it to the terminal's clipboard."),
    ]
    KEYS_LINE = "v shows it, y sends it to the terminal's clipboard, esc closes"

    def __init__(self, title: str, about: str, secret: Secret) -> None:
        super().__init__(title)
        self._about = about
        self._secret = secret
        self._is_shown = False

    def compose_box(self) -> Iterable[Widget]:
        yield Static(visible_lines(self._about), id="text", markup=False)
        yield Static(_HIDDEN, id="said", markup=False)

    def action_view(self) -> None:
        self._is_shown = not self._is_shown
        self.query_one("#said", Static).update(visible(self._secret.reveal()) if self._is_shown else _HIDDEN)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._secret.reveal())
        self.notify("Sent to the terminal's clipboard; nothing was written.", markup=False)
