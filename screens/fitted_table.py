"""A table whose columns always fit its width: some fixed, the rest share what is left.

Scrolling sideways in the dark is how a column is overlooked. What does not fit a column ends in an
ellipsis, and the screens show the whole of it for the marked row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text
from textual.widgets import DataTable

_BESIDE_CELLS = 3
"""The body's padding on both sides, and the scrollbar."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a fixed width in cells, or a weight for its share of the rest."""

    title: str
    key: str
    width: int = 0
    weight: int = 0
    wide_only: bool = False
    """Whether it is left out on narrow terminals."""

    right: bool = False


def fit_columns(columns: Sequence[Column], width: int, *, wide: bool) -> list[tuple[Column, int]]:
    """The columns that are shown, each with its width without the gap of one that follows it."""
    shown = [column for column in columns if wide or not column.wide_only]
    left = max(0, width - sum(column.width for column in shown) - len(shown))
    weights = sum(column.weight for column in shown)
    return [(column, column.width or max(4, left * column.weight // max(1, weights))) for column in shown]


class FittedTable(DataTable[RenderableType]):
    """A DataTable with a row cursor whose columns fit."""

    WIDE_FROM_COLUMNS = 100

    def __init__(self, columns: Sequence[Column], *, id: str) -> None:  # noqa: A002  Textual's own name
        super().__init__(id=id, cursor_type="row", cell_padding=0)
        self._all_columns = columns
        self._fitted_width = 0

    @property
    def shown_keys(self) -> tuple[str, ...]:
        """Keys of the columns that are shown, in order."""
        return tuple(key.value or "" for key in self.columns)

    def fit(self) -> bool:
        """Make the columns anew when the width has changed; then the rows are gone and True is returned."""
        width = self.app.size.width - _BESIDE_CELLS
        if width == self._fitted_width:
            return False
        self._fitted_width = width
        self.clear(columns=True)
        wide = self.app.size.width >= self.WIDE_FROM_COLUMNS
        for column, cells in fit_columns(self._all_columns, width, wide=wide):
            title = column.title.rjust(cells) if column.right else column.title
            self.add_column(Text(title), key=column.key, width=cells + 1)
        return True

    def add(self, key: str, cells: dict[str, Text]) -> None:
        """Add a row from its cells by column key; those of columns that are not shown are left out."""
        self.add_row(*(_with_gap(cells[column]) for column in self.shown_keys), key=key)

    def change(self, key: str, column: str, text: Text) -> None:
        """Change one cell, if its column is shown."""
        if column in self.shown_keys:
            self.update_cell(key, column, _with_gap(text))

    def marked(self) -> str | None:
        """Key of the row under the cursor."""
        if not self.row_count or not self.columns:
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value


def _with_gap(text: Text) -> Padding:
    return Padding(text, (0, 1, 0, 0))
