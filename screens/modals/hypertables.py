"""Which tables become hypertables on the target: by which column, in which pieces, and what is in the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from engine.catalog.hypertable import HypertableSuggestion, TimeColumn, TimeKind
from engine.catalog.hypertable_choice import HypertableChoice
from engine.catalog.table import TableName, quote_identifier
from screens.format import human_count, plain, visible
from screens.modals.box import ModalBox

_INTERVAL = re.compile(r"[1-9]\d{0,5} (minute|hour|day|week|month)s?\Z")
_LARGEST_BIGINT = 2**63 - 1


def read_interval(typed: str, kind: TimeKind) -> str | int | None:
    """A chunk interval as a person types it, or None when it is none.

    >>> read_interval("7  Days", TimeKind.DATE), read_interval("86400", TimeKind.INTEGER)
    ('7 days', 86400)
    """
    text = " ".join(typed.lower().split())
    if kind is TimeKind.INTEGER:
        plain_number = text.replace(",", "").replace("_", "")
        is_number = plain_number.isascii() and plain_number.isdigit()
        return int(plain_number) if is_number and 0 < int(plain_number) <= _LARGEST_BIGINT else None
    return text if _INTERVAL.match(text) else None


def own_interval(column: TimeColumn) -> str | int | None:
    """The interval that is suggested; None when it is not known what an integer counts."""
    return column.interval.integer if column.kind is TimeKind.INTEGER else column.interval.text


def interval_words(interval: str | int | None) -> str:
    """An interval in a line."""
    if interval is None:
        return "no interval yet"
    return human_count(interval) if isinstance(interval, int) else interval


class HypertablesModal(ModalBox[tuple[HypertableChoice, ...]]):
    """Returns what is accepted from then on, or None when nothing was changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "accept", "Accept", id="hypertables.accept", tooltip="Accept it, or not."),
        Binding("c", "column", "Column", id="hypertables.column", tooltip="By the table's next time column."),
        Binding("i", "interval", "Interval", id="hypertables.interval", tooltip="Type the chunk interval."),
    ]
    KEYS_LINE: ClassVar[str] = "space accepts, c column, i interval, enter keeps, esc drops changes"

    def __init__(
        self,
        suggestions: Sequence[HypertableSuggestion],
        accepted: Collection[HypertableChoice],
        marked: TableName | None,
    ) -> None:
        """Ask.

        Args:
            suggestions: Tables to show.
            accepted: What is accepted now; of tables that are not shown too.
            marked: Table to begin with.
        """
        super().__init__("Which tables become hypertables on the target?")
        self._suggestions = suggestions
        self._accepted = {choice.table: choice for choice in accepted}
        self._columns = {one.table: self._first_column(one) for one in suggestions}
        self._intervals: dict[tuple[TableName, str], str | int] = {
            (choice.table, choice.column): choice.interval for choice in accepted
        }
        self._start = next((n for n, one in enumerate(suggestions) if one.table == marked), 0)
        self.set_class(True, "-large")

    def _first_column(self, suggestion: HypertableSuggestion) -> int:
        choice = self._accepted.get(suggestion.table)
        names = [column.name for column in suggestion.columns]
        return names.index(choice.column) if choice is not None and choice.column in names else 0

    def compose_box(self) -> Iterable[Widget]:
        yield OptionList(
            *(self._line(one) for one in self._suggestions), id="tables", markup=False, compact=True
        )
        typed = Input(id="typed", compact=True)
        typed.cursor_blink = False
        typed.display = False
        yield typed
        yield Static("", id="said", markup=False)
        with VerticalScroll(id="detail-box"):
            yield Static("", id="detail", markup=False)

    def on_mount(self) -> None:
        self._list.highlighted = self._start
        self._list.focus()
        self._show()

    @property
    def _list(self) -> OptionList:
        return self.query_one("#tables", OptionList)

    @property
    def _marked(self) -> HypertableSuggestion:
        return self._suggestions[self._list.highlighted or 0]

    def _column(self, suggestion: HypertableSuggestion) -> TimeColumn:
        return suggestion.columns[self._columns[suggestion.table]]

    def _interval(self, suggestion: HypertableSuggestion) -> str | int | None:
        column = self._column(suggestion)
        return self._intervals.get((suggestion.table, column.name), own_interval(column))

    def _line(self, suggestion: HypertableSuggestion) -> str:
        column = self._column(suggestion)
        mark = "[x]" if suggestion.table in self._accepted else "[ ]"
        parts = [f"by {quote_identifier(column.name)}", interval_words(self._interval(suggestion))]
        if column.obstacles:
            parts.append(f"! {len(column.obstacles)} in the way")
        if not suggestion.is_worth_it:
            parts.append("hardly worth it")
        return visible(f"{mark} {suggestion.table}  {', '.join(parts)}")

    def _show(self) -> None:
        """Draw the marked line and what is said about it."""
        suggestion = self._marked
        self._list.replace_option_prompt_at_index(self._list.highlighted or 0, self._line(suggestion))
        column = self._column(suggestion)
        lines = [plain(f"{suggestion.table}: {'; '.join(suggestion.reasons)}.")]
        cut = f"Cut by {quote_identifier(column.name)} ({column.kind.value})"
        interval = self._interval(suggestion)
        pieces = (
            "the chunk interval is not known" if interval is None else f"{interval_words(interval)} a chunk"
        )
        lines.append(plain(f"{cut}, {pieces}."))
        lines += [plain(f"  {reason}") for reason in column.reasons]
        for obstacle in column.obstacles:
            lines.append(plain(f"! {obstacle.what}.", "$text-warning"))
            lines.append(plain(f"  {obstacle.remedy}."))
        if len(suggestion.columns) > 1:
            others = [quote_identifier(one.name) for one in suggestion.columns if one is not column]
            lines.append(plain(f"Other time columns: {', '.join(others)}; c goes on to the next."))
        self.query_one("#detail", Static).update(Content("\n").join(lines))
        self.query_one("#detail-box", VerticalScroll).scroll_home(animate=False)

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(plain(text))

    def on_option_list_option_highlighted(self) -> None:
        self._say("")
        self._show()

    def on_option_list_option_selected(self) -> None:
        self.dismiss(tuple(sorted(self._accepted.values(), key=lambda choice: choice.table)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A letter that is typed into the interval does nothing else."""
        if action in ("accept", "column", "interval"):
            return not self.query_one("#typed", Input).display
        return super().check_action(action, parameters)

    def action_accept(self) -> None:
        suggestion = self._marked
        if suggestion.table in self._accepted:
            del self._accepted[suggestion.table]
            self._say("")
        else:
            self._accept()
        self._show()

    def _accept(self) -> None:
        suggestion = self._marked
        interval = self._interval(suggestion)
        if interval is None:
            self._say("It is not known what the column counts: i types the interval in that.")
            return
        self._accepted[suggestion.table] = HypertableChoice(
            suggestion.table, self._column(suggestion).name, interval
        )
        self._say("")

    def action_column(self) -> None:
        suggestion = self._marked
        self._columns[suggestion.table] = (self._columns[suggestion.table] + 1) % len(suggestion.columns)
        # What was accepted was the other column.
        if self._accepted.pop(suggestion.table, None) is not None:
            self._accept()
        self._show()

    def action_interval(self) -> None:
        typed = self.query_one("#typed", Input)
        interval = self._interval(self._marked)
        typed.value = "" if interval is None else str(interval)
        typed.display = True
        typed.focus()
        if self._column(self._marked).kind is TimeKind.INTEGER:
            self._say("How many of what the column counts go into one chunk? enter takes it.")
        else:
            self._say("How much time goes into one chunk, such as 12 hours or 7 days? enter takes it.")

    @on(Input.Submitted, "#typed")
    def _typed(self) -> None:
        suggestion = self._marked
        column = self._column(suggestion)
        typed = self.query_one("#typed", Input)
        interval = read_interval(typed.value, column.kind)
        if interval is None:
            wanted = "a number" if column.kind is TimeKind.INTEGER else "a number and minutes, hours or days"
            self._say(f"“{typed.value}” is no chunk interval; type {wanted}.")
            return
        self._intervals[suggestion.table, column.name] = interval
        self._end_typing()
        self._accept()
        self._show()

    def _end_typing(self) -> None:
        self.query_one("#typed", Input).display = False
        self._list.focus()
        self._say("")

    def action_close(self) -> None:
        """Out of the input first, then out of the box."""
        if self.query_one("#typed", Input).display:
            self._end_typing()
            return
        super().action_close()
