"""A footer that is rebuilt only when the keys it shows have changed.

Textual's own rebuilds at every change of focus and leaves the widgets it replaced in memory; a migration
runs for days.
"""

from __future__ import annotations

from textual.screen import Screen
from textual.widgets import Footer


class KeyFooter(Footer):
    """Textual's footer without needless rebuilds."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)
        self._shown: tuple[tuple[str, str, bool], ...] | None = None

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Rebuild when a key, its word or whether it is off differs from what is drawn."""
        if not screen.app.app_focus:
            return
        wanted = tuple(
            (binding.key, binding.description, enabled)
            for _, binding, enabled, _ in screen.active_bindings.values()
            if binding.show
        )
        if wanted == self._shown:
            return
        self._shown = wanted
        super().bindings_changed(screen)
