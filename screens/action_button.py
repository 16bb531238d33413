"""A button that is seen as one without colours, and that stays where the focus is when it is off."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Button


class ActionButton(Button):
    """One line, its label in brackets."""

    def __init__(self, label: str, *, id: str, classes: str | None = None) -> None:  # noqa: A002  Textual's own
        super().__init__(_bracketed(label), id=id, classes=classes, compact=True)
        self._said = label

    def say(self, label: str) -> None:
        """Change the label."""
        if label != self._said:
            self._said = label
            self.label = _bracketed(label)
            # A label of another length needs another width.
            self.refresh(layout=True)

    def turn_off(self, off: bool) -> None:
        """Show that pressing does nothing now.

        Not ``disabled``: then the focus would move on, and the next enter would press another button.
        """
        self.set_class(off, "-off")


def _bracketed(label: str) -> Content:
    return Content(f"[ {label} ]")
