"""Where a table, or the tables of a schema, land on the target; and the whole map, to load, save or drop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from engine.catalog.table import quote_identifier
from engine.catalog.table_map import TableMapping
from engine.catalog.table_map_review import TableMapReview
from screens.action_button import ActionButton
from screens.format import plain, plural, visible
from screens.modals.box import ModalBox

_NAMES_SHOWN = 3


class MapOrder(Enum):
    """What to do with the map."""

    TAKE = "take"
    LOAD = "load"
    SAVE = "save"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """What the person wants."""

    order: MapOrder
    typed: str
    """Only to take: where it lands."""


@dataclass(frozen=True, slots=True)
class MapPreview:
    """What a typed name would come to."""

    said: str
    is_usable: bool


def mapping_words(mapping: TableMapping) -> str:
    """One map in a line; its table is a regular expression."""
    source = quote_identifier(mapping.source_schema)
    target = quote_identifier(mapping.target_schema)
    from_table = "*" if mapping.source_table is None else mapping.source_table
    to_table = "*" if mapping.target_table is None else quote_identifier(mapping.target_table)
    return f"{source}.{from_table} → {target}.{to_table}"


def review_lines(review: TableMapReview) -> list[tuple[str, str]]:
    """What a map does to the chosen tables: lines, each with its CSS class."""
    if not review.mappings:
        return [("No maps: every table keeps its name.", "")]
    lines = [
        (f"{plural(len(review.mappings), 'map')}; {plural(len(review.moved), 'chosen table')} moved.", "")
    ]
    for one in review.mappings:
        if one.decides:
            lines.append((f"  {mapping_words(one.mapping)}: {plural(len(one.decides), 'table')}", ""))
        else:
            why = "an earlier map has its tables" if one.comes_too_late else "no chosen table matches"
            lines.append((f"! {mapping_words(one.mapping)}: {why}", "$text-warning"))
    for target, sources in review.shared:
        names = ", ".join(map(str, sources[:_NAMES_SHOWN]))
        more = f" and {len(sources) - _NAMES_SHOWN:,} more" if len(sources) > _NAMES_SHOWN else ""
        lines.append(
            (
                f"! {target} takes {names}{more}: their keys must not meet, none can be copied again alone",
                "$text-warning",
            )
        )
    return lines


class TableMapModal(ModalBox[MapAnswer]):
    """Asks for a name on the target."""

    KEYS_LINE: ClassVar[str] = "enter takes the name, tab moves to the buttons, esc closes"

    def __init__(
        self,
        subject: str,
        target: str,
        review: TableMapReview,
        preview: Callable[[str], MapPreview],
    ) -> None:
        """Ask.

        Args:
            subject: The table, or schema, as it is shown.
            target: Where it lands now, as it is typed.
            review: Of the map as it is.
            preview: What a typed name would come to.
        """
        super().__init__(f"Where does {visible(subject)} land on the target?")
        self._target = target
        self._review = review
        self._preview = preview

    def compose_box(self) -> Iterable[Widget]:
        typed = Input(self._target, id="typed", compact=True, select_on_focus=False)
        typed.cursor_blink = False
        yield typed
        yield Static("", id="preview", markup=False)
        with VerticalScroll(id="review"):
            for line, style in review_lines(self._review):
                yield Static(plain(line, style), markup=False)
        with Horizontal(id="buttons"):
            yield ActionButton("Take", id="take")
            yield ActionButton("Load …", id="load")
            yield ActionButton("Save …", id="save")
            yield ActionButton("Drop all maps", id="clear")

    def on_mount(self) -> None:
        self.query_one("#typed").focus()
        self._show()

    @on(Input.Changed, "#typed")
    def _show(self) -> MapPreview:
        found = self._preview(self.query_one("#typed", Input).value)
        said = self.query_one("#preview", Static)
        said.set_class(not found.is_usable, "bad")
        said.update(plain(found.said))
        return found

    @on(Input.Submitted, "#typed")
    @on(Button.Pressed, "#take")
    def _take(self) -> None:
        if self._show().is_usable:
            self.dismiss(MapAnswer(MapOrder.TAKE, self.query_one("#typed", Input).value))

    @on(Button.Pressed)
    def _other(self, event: Button.Pressed) -> None:
        order = {"load": MapOrder.LOAD, "save": MapOrder.SAVE, "clear": MapOrder.CLEAR}.get(
            event.button.id or ""
        )
        if order is not None:
            self.dismiss(MapAnswer(order, ""))
