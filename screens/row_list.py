"""A list of any length whose lines are made when they are seen: ten thousand take no longer than ten.

Columns fit the width as those of :class:`~screens.fitted_table.FittedTable` do. The list knows numbers of
lines only; what they hold is asked for, so nothing has to be told when it changes but that it did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from screens.fitted_table import Column, FittedTable, fit_columns

_HEADER_LINES = 1


class RowList(ScrollView, can_focus=True):
    """Lines under a header, one of them marked."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--header", "row-list--marked"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "jump(0)", "First", show=False),
        Binding("end", "jump(-1)", "Last", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    class Marked(Message):
        """Another line is marked."""

    class Chosen(Message):
        """Enter was pressed on the marked line."""

    def __init__(self, cells: Callable[[int], Mapping[str, Text]], *, id: str) -> None:  # noqa: A002  Textual's own name
        """A list without lines.

        Args:
            cells: Takes the number of a line, from 0, and returns its cells by column key.
            id: Of the widget.
        """
        super().__init__(id=id)
        self._cells = cells
        self._columns: Sequence[Column] = ()
        self._count = 0
        self._marked = 0

    @property
    def marked(self) -> int | None:
        """Number of the marked line, or None when there are none."""
        return self._marked if self._count else None

    @property
    def count(self) -> int:
        """How many lines there are."""
        return self._count

    def show(self, columns: Sequence[Column], count: int, marked: int) -> None:
        """Show lines.

        Args:
            columns: In order; what is for wide terminals only is left out on others.
            count: How many lines there are.
            marked: Number of the one to mark.
        """
        self._columns = columns
        self._count = count
        self.virtual_size = Size(1, count + _HEADER_LINES)
        self.mark(marked)
        self.refresh()

    def mark(self, number: int) -> None:
        """Mark a line, the nearest there is, and scroll to it."""
        self._marked = max(0, min(number, self._count - 1))
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Marked())

    @property
    def _page(self) -> int:
        return max(1, self.scrollable_content_region.height - _HEADER_LINES)

    def _keep_in_sight(self) -> None:
        top = self.scroll_offset.y
        if self._marked < top:
            self.scroll_to(y=self._marked, animate=False, force=True)
        elif self._marked >= top + self._page:
            self.scroll_to(y=self._marked - self._page + 1, animate=False, force=True)

    def on_resize(self) -> None:
        """Keep the marked line in sight."""
        self._keep_in_sight()

    def action_move(self, by: int) -> None:
        self.mark(self._marked + by)

    def action_page(self, direction: int) -> None:
        self.mark(self._marked + direction * self._page)

    def action_jump(self, to: int) -> None:
        self.mark(to if to >= 0 else self._count - 1)

    def action_choose(self) -> None:
        if self._count:
            self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """Mark the line that was clicked."""
        line = event.y - _HEADER_LINES
        if line >= 0:
            self.mark(self.scroll_offset.y + line)

    def render_line(self, y: int) -> Strip:
        """One line of the screen; Textual calls it for those that are seen."""
        width = self.scrollable_content_region.width
        fitted = fit_columns(self._columns, width, wide=self.app.size.width >= FittedTable.WIDE_FROM_COLUMNS)
        if y < _HEADER_LINES:
            titles = {
                column.key: Text(column.title, justify="right" if column.right else "left")
                for column in self._columns
            }
            return self._strip(titles, fitted, width, self.get_component_rich_style("row-list--header"))
        number = self.scroll_offset.y + y - _HEADER_LINES
        if number >= self._count:
            return Strip.blank(width, self.rich_style)
        style = self.get_component_rich_style("row-list--marked") if number == self._marked else None
        return self._strip(self._cells(number), fitted, width, style)

    def _strip(
        self,
        cells: Mapping[str, Text],
        fitted: Sequence[tuple[Column, int]],
        width: int,
        over: Style | None,
    ) -> Strip:
        line = Text(no_wrap=True, end="")
        for column, cell_width in fitted:
            text = cells[column.key].copy()
            text.truncate(cell_width, overflow="ellipsis")
            if text.justify == "right":
                text.pad_left(cell_width - text.cell_len)
            else:
                text.pad_right(cell_width - text.cell_len)
            line.append_text(text)
            line.append(" ")
        segments = Segment.apply_style(line.render(self.app.console), self.rich_style, over)
        return Strip(segments).adjust_cell_length(width, self.rich_style if over is None else over)
