"""Step 4: which tables move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.catalog.table import ReplicaIdentity, SourceTable, quote_identifier
from engine.errors import Failure
from screens.fitted_table import Column, FittedTable
from screens.format import cell, human_bytes, human_estimate, plain, plural
from screens.migration import Step
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
Tables of the source, grouped by schema. All that can be moved are chosen at first. Row counts are the
planner's estimates; sizes are without indexes.

Key says how updates and deletes find their row: the primary key, a replica identity set before, or
"none": the Publication step then proposes a statement that gives the table one.

Space marks a table, or all tables of a schema on the schema's line. a, n and i mark all, none, or the
opposite of what the filter shows. Nothing is changed on either server here.
"""

_FILTER_DELAY_SECONDS = 0.15
"""A list of ten thousand tables takes half a second to fill; not at every key."""

_CHOSEN, _NOT_CHOSEN, _CANNOT = "[x]", "[ ]", " - "

_COLUMNS = (
    Column("", "mark", width=3),
    Column("Table", "name", weight=1),
    Column("Kind", "kind", width=11),
    Column("Rows", "rows", width=8, right=True),
    Column("Size", "size", width=9, right=True),
    Column("Key", "key", width=8),
)


def key_words(table: SourceTable) -> tuple[str, str]:
    """How updates and deletes find their row, and the tone to say it in."""
    if table.problem is not None:
        return "✗ cannot", "bad"
    if table.replica_identity is ReplicaIdentity.FULL:
        return "full row", ""
    if table.replica_identity is ReplicaIdentity.INDEX:
        return "index", ""
    if table.replica_identity is ReplicaIdentity.DEFAULT and table.has_primary_key:
        return "primary", ""
    return "none", "warn"


def table_line(table: SourceTable) -> str:
    """The marked table in one line: its whole name, and what stands against moving it."""
    if table.problem is not None:
        return f"{table.name} cannot be moved: {table.problem}"
    if not table.can_replicate_updates:
        return f"{table.name} has no key; the Publication step proposes a statement"
    return str(table.name)


def table_details(table: SourceTable) -> str:
    """Everything known about a table, for reading."""
    lines = [
        f"Kind               {table.kind.value}",
        f"Rows               {human_estimate(table.approximate_rows)} (estimate)",
        f"Size               {human_bytes(table.size_bytes)} without indexes",
        f"Primary key        {'yes' if table.has_primary_key else 'no'}",
        f"Replica identity   {table.replica_identity.name.lower()}",
        f"Usable index       {table.usable_index or 'none'}",
    ]
    if table.problem:
        lines.append(f"Cannot be moved    {table.problem}")
    elif not table.can_replicate_updates:
        lines.append("Updates            cannot be published yet; the Publication step proposes a statement")
    return "\n".join(lines)


class TablesScreen(WizardScreen):
    """Chooses tables."""

    STEP = Step.TABLES
    QUESTION = "Which tables are moved?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "tables.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="tables.mark", tooltip="Mark or unmark; on a schema, all of it."),
        Binding("a", "choose_all", "All", id="tables.all", tooltip="Mark all that the filter shows."),
        Binding("n", "choose_none", "None", id="tables.none", tooltip="Unmark all that the filter shows."),
        Binding("i", "invert", "Invert", id="tables.invert", tooltip="Turn around what the filter shows."),
        Binding(
            "slash", "filter", "Filter", id="tables.filter", tooltip="Show only names with a text in them."
        ),
        Binding(
            "escape", "clear_filter", "Clear", id="tables.clear", show=False, tooltip="Clear the filter."
        ),
        Binding("r", "reload", "Reload", id="tables.reload", show=False, tooltip="Read the list again."),
        Binding(
            "e", "error_details", "Error", id="tables.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._tables: tuple[SourceTable, ...] | None = None
        self._chosen: set[int] = set()
        self._shown: tuple[SourceTable, ...] = ()
        self._schema_rows: dict[str, str] = {}
        """Row key of each schema's line."""
        self._filter_timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", id="totals", markup=False)
        typed = Input(id="filter", placeholder="part of a name; enter keeps it, esc clears it", compact=True)
        typed.cursor_blink = False
        typed.display = False
        yield typed
        yield FittedTable(_COLUMNS, id="list")
        yield Static("", id="empty", markup=False)
        yield Static("", id="details", markup=False)

    def opened(self) -> None:
        self.query_one("#empty").display = False
        self._list.focus()
        self.action_reload()

    def resized(self) -> None:
        if self._list.fit():
            self._fill()

    @property
    def _list(self) -> FittedTable:
        return self.query_one("#list", FittedTable)

    def action_reload(self) -> None:
        if self.jobs.running:
            return
        self.notice(None)
        self.start_job("tables", "reading the table list", self.services.list_tables, self._listed)

    def _listed(self, tables: tuple[SourceTable, ...] | Failure) -> None:
        if isinstance(tables, Failure):
            self.notice(tables)
            return
        first = self._tables is None
        self._tables = tuple(sorted(tables, key=lambda table: table.name))
        movable = {table.oid for table in self._tables if table.problem is None}
        if first:
            remembered = set(self.services.migration.tables)
            chosen = (
                {table.oid for table in self._tables if table.name in remembered} if remembered else movable
            )
            self._chosen = chosen & movable
        else:
            self._chosen &= movable
        self._fill()

    def _fill(self) -> None:
        """Show the tables that pass the filter, under their schemas."""
        wanted = self.query_one("#filter", Input).value.strip().lower()
        everything = self._tables or ()
        self._shown = tuple(table for table in everything if wanted in str(table.name).lower())
        self._schema_rows = {}
        rows = self._list
        rows.fit()
        rows.clear()
        for table in self._shown:
            schema = table.name.schema
            if schema not in self._schema_rows:
                self._schema_rows[schema] = f"schema-{len(self._schema_rows)}"
                rows.add(self._schema_rows[schema], self._schema_cells(schema))
            rows.add(str(table.oid), self._cells(table))
        empty = self.query_one("#empty", Static)
        empty.display = not self._shown
        rows.display = bool(self._shown)
        if wanted:
            empty.update(plain(f"No table has “{wanted}” in its name. esc clears the filter."))
        else:
            empty.update("The source has no tables that can be moved.")
        self._say_totals()

    def _mark(self, table: SourceTable) -> Text:
        if table.problem is not None:
            return cell(_CANNOT, self.tone("quiet"))
        return cell(_CHOSEN, self.tone("good")) if table.oid in self._chosen else cell(_NOT_CHOSEN)

    def _cells(self, table: SourceTable) -> dict[str, Text]:
        words, tone = key_words(table)
        quiet = self.tone("quiet") if table.problem else ""
        return {
            "mark": self._mark(table),
            "name": cell("  " + quote_identifier(table.name.table), quiet),
            "kind": cell(table.kind.value, quiet),
            "rows": cell(human_estimate(table.approximate_rows), quiet, right=True),
            "size": cell(human_bytes(table.size_bytes), quiet, right=True),
            "key": cell(words, self.tone(tone)),
        }

    def _schema_cells(self, schema: str) -> dict[str, Text]:
        within = [table for table in self._tables or () if table.name.schema == schema]
        chosen = sum(1 for table in within if table.oid in self._chosen)
        cells = {column.key: cell("") for column in _COLUMNS}
        cells["name"] = cell(quote_identifier(schema), "bold")
        cells["kind"] = cell(f"{chosen} of {len(within)}", self.tone("quiet"))
        return cells

    def _say_totals(self) -> None:
        everything = self._tables or ()
        chosen = [table for table in everything if table.oid in self._chosen]
        parts = [
            f"{len(chosen):,} of {plural(len(everything), 'table')} chosen",
            human_bytes(sum(table.size_bytes for table in chosen)),
            f"{human_estimate(sum(table.approximate_rows for table in chosen))} rows",
        ]
        keyless = sum(1 for table in chosen if not table.can_replicate_updates)
        if keyless:
            parts.append(f"{keyless} without a key")
        if len(self._shown) < len(everything):
            parts.append(f"the filter shows {len(self._shown):,}")
        self.query_one("#totals", Static).update(plain(" · ".join(parts), "dim"))
        self.redraw_frame()

    # Choosing.

    def _row_key(self) -> str | None:
        return self._list.marked()

    def _change(self, tables: Iterable[SourceTable], chosen: set[int]) -> None:
        """Make ``chosen`` the choice; only marks that differ are drawn again."""
        schemas = set()
        for table in tables:
            if (table.oid in self._chosen) == (table.oid in chosen):
                continue
            (self._chosen.add if table.oid in chosen else self._chosen.discard)(table.oid)
            self._list.change(str(table.oid), "mark", self._mark(table))
            schemas.add(table.name.schema)
        for schema in schemas:
            self._list.change(self._schema_rows[schema], "kind", self._schema_cells(schema)["kind"])
        self._say_totals()

    @staticmethod
    def _movable(tables: Iterable[SourceTable]) -> set[int]:
        return {table.oid for table in tables if table.problem is None}

    def action_mark(self) -> None:
        key = self._row_key()
        if key is None:
            return
        schema = next((name for name, row in self._schema_rows.items() if row == key), None)
        if schema is None:
            tables = [table for table in self._shown if str(table.oid) == key]
            self._change(tables, self._chosen ^ self._movable(tables))
            self._list.action_cursor_down()
            return
        tables = [table for table in self._shown if table.name.schema == schema]
        movable = self._movable(tables)
        self._change(tables, self._chosen - movable if movable <= self._chosen else self._chosen | movable)

    def action_choose_all(self) -> None:
        self._change(self._shown, self._chosen | self._movable(self._shown))

    def action_choose_none(self) -> None:
        self._change(self._shown, self._chosen - self._movable(self._shown))

    def action_invert(self) -> None:
        self._change(self._shown, self._chosen ^ self._movable(self._shown))

    def on_data_table_row_highlighted(self) -> None:
        key = self._row_key()
        table = next((table for table in self._shown if str(table.oid) == key), None)
        self.query_one("#details", Static).update(plain("" if table is None else table_line(table), "dim"))

    def on_data_table_row_selected(self) -> None:
        key = self._row_key()
        table = next((table for table in self._shown if str(table.oid) == key), None)
        if table is None:
            self.action_mark()
            return
        self.app.push_screen(TextModal(str(table.name), table_details(table), "table.txt", self.copy))

    def copy_text(self) -> tuple[str, str] | None:
        names = [str(table.name) for table in self._tables or () if table.oid in self._chosen]
        return ("tables.txt", "\n".join(names) + "\n") if names else None

    # Filtering.

    def action_filter(self) -> None:
        typed = self.query_one("#filter", Input)
        typed.display = True
        typed.focus()

    def action_clear_filter(self) -> None:
        typed = self.query_one("#filter", Input)
        if not typed.display:
            return
        typed.value = ""
        typed.display = False
        self._list.display = True
        self._list.focus()
        self._fill()

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self._filter_timer = self.set_timer(_FILTER_DELAY_SECONDS, self._fill)

    @on(Input.Submitted, "#filter")
    def _submitted(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self._fill()
        if self._shown:
            self._list.focus()

    # The gate.

    def next_blocked(self) -> str | None:
        if self._tables is None:
            return "the table list has not been read; r reads it again"
        if not self._chosen:
            return "no table is chosen; a chooses all"
        return None

    def advance(self) -> None:
        names = tuple(table.name for table in self._tables or () if table.oid in self._chosen)
        self.remember(tables=names)
        super().advance()
