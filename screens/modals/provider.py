"""Says whose servers these are, when the checks took them for somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import OptionList, Static

from engine.errors import Side
from screens.format import visible
from screens.modals.box import ModalBox

_CHOSEN, _NOT_CHOSEN = "●", "○"


class ProviderModal(ModalBox[tuple[Side, str]]):
    """Returns a side and the name of its provider, which is empty when it is to be found out."""

    KEYS_LINE: ClassVar[str] = "tab changes the side, enter takes the marked one, esc closes"

    def __init__(
        self, providers: Mapping[str, str], detected: Mapping[Side, str], chosen: Mapping[Side, str]
    ) -> None:
        """Ask.

        Args:
            providers: Name and title of each.
            detected: Title of what each side was found to be, as far as the checks have run.
            chosen: Name of what each side is by the person's word; empty: found out.
        """
        super().__init__("Whose servers are these? The fixes are written for them.")
        self._names = ("", *providers)
        self._titles = providers
        self._detected = detected
        self._chosen = chosen

    def compose_box(self) -> Iterable[Widget]:
        with Horizontal(id="sides"):
            for side in Side:
                with Vertical(classes="side"):
                    yield Static(side.value.capitalize(), classes="quiet", markup=False)
                    yield OptionList(
                        *(self._line(side, name) for name in self._names),
                        id=f"{side.value}-providers",
                        markup=False,
                        compact=True,
                    )

    def _line(self, side: Side, name: str) -> str:
        mark = _CHOSEN if name == self._chosen[side] else _NOT_CHOSEN
        if name:
            return visible(f"{mark} {self._titles[name]}")
        found = self._detected.get(side, "")
        return visible(f"{mark} as found out: {found}") if found else f"{mark} as found out"

    def on_mount(self) -> None:
        for side in Side:
            chosen = self._chosen[side]
            self._list(side).highlighted = self._names.index(chosen) if chosen in self._names else 0
        self._list(Side.SOURCE).focus()

    def _list(self, side: Side) -> OptionList:
        return self.query_one(f"#{side.value}-providers", OptionList)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        side = Side.SOURCE if event.option_list.id == "source-providers" else Side.TARGET
        self.dismiss((side, self._names[event.option_index]))
