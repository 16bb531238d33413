"""The step Tables: which tables move, where they land, and which become hypertables there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.catalog.hypertable import HypertableSuggestion
from engine.catalog.hypertable_choice import HypertableChoice
from engine.catalog.schema_tables import TableTie, left_behind
from engine.catalog.table import SourceTable, TableName, quote_identifier
from engine.catalog.table_list import (
    identifier_text,
    parse_identifier,
    parse_table_name,
    table_list_text,
    table_name_text,
)
from engine.catalog.table_map import TableMap, read_table_map
from engine.catalog.table_map_edit import map_schema, map_table
from engine.catalog.table_map_review import review_table_map
from engine.errors import Failure, Side, UsageError
from engine.script.planned import Outcome, Script, ScriptResult
from screens.fitted_table import Column
from screens.format import cell, human_bytes, human_estimate, plain, plural
from screens.generated import GeneratedFile
from screens.migration import Step
from screens.modals.confirm import ConfirmModal
from screens.modals.hypertables import HypertablesModal
from screens.modals.path import PathModal
from screens.modals.table_map import MapAnswer, MapOrder, MapPreview, TableMapModal
from screens.modals.text import TextModal
from screens.row_list import RowList
from screens.services import MigrationServices
from screens.step_services.tables import TablesLook
from screens.table_filter import TableFilter, read_filter
from screens.table_rows import (
    Line,
    SchemaLine,
    TableOrder,
    TableRow,
    completed,
    key_words,
    lines_in_order,
    problems_by_table,
    table_details,
    tie_words,
)
from screens.wizard import WizardScreen

_HELP = """
Tables of the source, grouped by schema. All that can be moved are chosen at first. Row counts are the
planner's estimates; sizes are without indexes.

Key says how updates and deletes find their row: the primary key, a replica identity set before, or
"none": the Identity step then proposes a statement that gives the table one. An exclamation mark is a
problem, which the last line tells of the marked table.

Space marks a table, or all tables of a schema on the schema's line. a, n and t mark all, none, or the
opposite of what is shown. Nothing is changed on either server by that.

The filter takes parts of names, and these; all have to hold:
  public.        tables of a schema
  size>10GB      also <, >=, <=, and rows>1M
  problem:       tables with a problem; problem:key those with that word in it

m says where a table, or all of a schema, land on the target. Such a table has to be there under that
name: the Schema step makes tables with the names they have on the source.
"""

_FILTER_DELAY_SECONDS = 0.1
"""Ten thousand tables are filtered in a few hundredths of a second; not at every key."""

CHOICE_FILE = "tables.txt"
MAP_FILE = "table_map.json"

_CHOSEN, _SOME, _NOT_CHOSEN, _CANNOT = "[x]", "[-]", "[ ]", " - "

_MARK = Column("", "mark", width=3)
_NAME = Column("Table", "name", weight=3)
_TARGET = Column("On the target", "target", weight=2)
_KIND = Column("Kind", "kind", width=11)
_NUMBERS = (
    Column("Rows", "rows", width=8, right=True),
    Column("Size", "size", width=9, right=True),
    Column("Key", "key", width=8),
    Column("Identity", "identity", width=8, wide_only=True),
    Column("", "flag", width=1),
    Column("Problem", "problem", weight=3, wide_only=True),
)
_COLUMNS = (_MARK, _NAME, _KIND, *_NUMBERS)
_MAPPED_COLUMNS = (
    _MARK,
    _NAME,
    _TARGET,
    Column("Kind", "kind", width=11, wide_only=True),
    *_NUMBERS,
)
_NO_CELLS = {column.key: Text() for column in (*_MAPPED_COLUMNS, _KIND)}

_NAMES_SHOWN = 3
_STATEMENTS_SHOWN = 3
_NOTES_SHOWN = 1

Planned = tuple[Script, GeneratedFile]


def some_names(names: Sequence[TableName]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(str, names[:_NAMES_SHOWN])) + more


def planned_words(script: Script, file: GeneratedFile) -> str:
    """What became of the script of hypertables, in a line."""
    parts = [f"{len(file.statements)} to run"]
    if script.set_apart:
        parts.append(f"{len(script.set_apart)} not ({script.set_apart[0].set_apart})")
    if script.already_there:
        parts.append(f"{len(script.already_there)} there already")
    return f"{script.file_name}: {', '.join(parts)}"


class TablesScreen(WizardScreen):
    """Chooses tables."""

    STEP = Step.TABLES
    QUESTION = "Which tables are moved?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "row_list.tcss", "tables.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="tables.mark", tooltip="Mark or unmark; on a schema, all of it."),
        Binding("a", "choose_all", "All", id="tables.all", tooltip="Mark all that is shown."),
        Binding("n", "choose_none", "None", id="tables.none", tooltip="Unmark all that is shown."),
        Binding(
            "t", "invert", "Invert", id="tables.invert", show=False, tooltip="Turn around what is shown."
        ),
        Binding("slash", "filter", "Filter", id="tables.filter", tooltip="Show fewer tables."),
        Binding(
            "f",
            "only_problems",
            "Problems",
            id="tables.problems",
            show=False,
            tooltip="Show only tables with a problem, or all again.",
        ),
        Binding("s", "sort", "Sort", id="tables.sort", tooltip="By schema, size, rows, problems first."),
        Binding(
            "p",
            "complete",
            "Pull in",
            id="tables.complete",
            show=False,
            tooltip="Mark the tables that chosen ones refer to.",
        ),
        Binding("m", "map", "Map", id="tables.map", tooltip="Say where a table or schema lands."),
        Binding(
            "h",
            "hypertables",
            "Hypertable",
            id="tables.hypertables",
            tooltip="Time columns, and what becomes a hypertable on the target.",
        ),
        Binding(
            "v",
            "view",
            "View",
            id="tables.view",
            show=False,
            tooltip="Read the script that makes hypertables.",
        ),
        Binding(
            "x",
            "apply",
            "Apply",
            id="tables.apply",
            show=False,
            tooltip="Make the hypertables on the target; asks first.",
        ),
        Binding("w", "write", "Write", id="tables.write", show=False, tooltip="Write the choice to a file."),
        Binding("o", "load", "Open", id="tables.load", show=False, tooltip="Take the choice from a file."),
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
        self._look: TablesLook | None = None
        self._tables: dict[TableName, SourceTable] = {}
        """All there are."""

        self._movable: frozenset[TableName] = frozenset()
        self._chosen: set[TableName] = set()
        self._map = TableMap()
        self._map_is_broken = False
        self._targets: dict[TableName, TableName] = {}
        """Where each table lands."""

        self._left: tuple[TableTie, ...] = ()
        self._to_add: frozenset[TableName] = frozenset()
        self._problems: Mapping[TableName, tuple[str, ...]] = {}
        self._order = TableOrder.NAME
        self._only_problems = False
        self._filter = TableFilter()
        self._lines: list[Line] = []
        self._shown: list[SourceTable] = []
        self._said = ""
        self._filter_timer: Timer | None = None
        self._suggestions: tuple[HypertableSuggestion, ...] | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", id="totals", markup=False)
        yield Static("", id="ties", classes="warn", markup=False)
        yield Static("", id="said", markup=False)
        typed = Input(
            id="filter",
            placeholder="part of a name, public., size>10GB, problem: (enter keeps, esc clears)",
            compact=True,
        )
        typed.cursor_blink = False
        typed.display = False
        yield typed
        yield RowList(self._cells, id="list")
        yield Static("", id="empty", markup=False)
        yield Static("", id="details", markup=False)

    def opened(self) -> None:
        for name in ("#empty", "#ties", "#said"):
            self.query_one(name).display = False
        self._list.focus()
        self.action_reload()

    @property
    def _list(self) -> RowList:
        return self.query_one("#list", RowList)

    # Reading.

    def action_reload(self) -> None:
        if self.jobs.running:
            return
        self.notice(None)
        self.start_job("tables", "reading the table list", self.services.tables.look, self._looked)

    def _looked(self, look: TablesLook | Failure) -> None:
        if isinstance(look, Failure):
            self.notice(look)
            self._show_unread()
            return
        first = self._look is None
        self._look = look
        self._suggestions = None
        self._tables = {table.name: table for table in sorted(look.tables, key=lambda table: table.name)}
        self._movable = frozenset(name for name, table in self._tables.items() if table.problem is None)
        if first:
            self._read_remembered()
        else:
            self._chosen &= self._movable
        self._map_changed()
        self._choice_changed()
        self._fill()
        if first:
            # A list that was hidden has lost the focus.
            self._list.focus()
        self.refresh_bindings()

    def _show_unread(self) -> None:
        if self._look is None:
            empty = self.query_one("#empty", Static)
            empty.update("The table list could not be read. r reads it again, e says why.")
            empty.display = True
            self._list.display = False

    def _read_remembered(self) -> None:
        migration = self.services.migration
        remembered = migration.tables
        self._chosen = set(self._movable)
        if remembered:
            self._chosen &= set(remembered)
            self._say_not_taken(remembered)
        try:
            if migration.table_map:
                self._map = read_table_map(migration.table_map, "The migration's table map")
        except UsageError as error:
            self._map_is_broken = True
            self.notice(error.failure)

    def _say_not_taken(self, wanted: Collection[TableName]) -> None:
        """Say which names of a remembered or loaded choice could not be taken."""
        gone = [name for name in wanted if name not in self._tables]
        stuck = [name for name in wanted if name in self._tables and name not in self._movable]
        parts = []
        if gone:
            parts.append(f"not on the source: {some_names(gone)}")
        if stuck:
            parts.append(f"cannot be moved: {some_names(stuck)}")
        if parts:
            self._say("; ".join(parts))

    # Drawing.

    def _map_changed(self) -> None:
        """The map, or the tables, are others: find out anew where each lands."""
        self._targets = {name: self._map.target_of(name) for name in self._tables}

    def _choice_changed(self) -> None:
        """The choice, or the map, is another: find out anew what is wrong with it, and draw that."""
        ties = () if self._look is None else self._look.ties
        self._left = left_behind(ties, self._chosen)
        self._to_add = completed(ties, self._chosen, self._movable) if self._left else frozenset()
        self._problems = problems_by_table(self._tables.values(), self._left, self._shared())
        self._show_head()
        self._list.refresh()
        self._show_details()
        self.redraw_frame()

    def _shared(self) -> Mapping[TableName, Sequence[TableName]]:
        """Target tables that several chosen tables land in."""
        if not self._map.mappings:
            return {}
        sources: defaultdict[TableName, list[TableName]] = defaultdict(list)
        for name in self._chosen:
            sources[self._targets[name]].append(name)
        return {target: names for target, names in sources.items() if len(names) > 1}

    def _fill(self, marked: Line | None = None) -> None:
        """Show the tables that pass the filter, in their order; the marked line stays marked."""
        marked = marked or self._marked()
        rows = []
        for name, table in self._tables.items():
            problems = self._problems.get(name, ())
            row = TableRow(table, self._targets[name], problems, str(name).lower())
            if (problems or not self._only_problems) and self._filter.takes(row):
                rows.append(row)
        self._lines = lines_in_order(rows, self._order)
        self._shown = [row.table for row in rows]
        columns = _MAPPED_COLUMNS if self._map.mappings else _COLUMNS
        self._list.show(columns, len(self._lines), self._number_of(marked))
        empty = self.query_one("#empty", Static)
        empty.display = not rows and self._look is not None
        self._list.display = bool(rows)
        empty.update(self._empty_words())
        self._show_head()
        self._show_details()

    def _number_of(self, wanted: Line | None) -> int:
        if isinstance(wanted, TableRow):
            name = wanted.table.name
            return next(
                (
                    n
                    for n, line in enumerate(self._lines)
                    if isinstance(line, TableRow) and line.table.name == name
                ),
                0,
            )
        schema = None if wanted is None else wanted.schema
        return next(
            (
                n
                for n, line in enumerate(self._lines)
                if isinstance(line, SchemaLine) and line.schema == schema
            ),
            0,
        )

    def _empty_words(self) -> str:
        if not self._tables:
            return "The source has no tables that can be moved."
        if self._only_problems:
            return "No table that the filter shows has a problem. f shows all again."
        return "No table passes the filter. esc clears it."

    def _show_head(self) -> None:
        self.query_one("#totals", Static).update(plain(" · ".join(self._totals()), "dim"))
        tied = tie_words(self._left, len(self._to_add))
        ties = self.query_one("#ties", Static)
        ties.display = bool(tied)
        ties.update(plain(f"! {tied}"))
        words = self._filter.mistake or self._said or self._view_words()
        said = self.query_one("#said", Static)
        said.display = bool(words)
        said.set_class(bool(self._filter.mistake), "bad")
        said.update(plain(words))

    def _totals(self) -> list[str]:
        chosen = [self._tables[name] for name in self._chosen]
        parts = [
            f"{len(chosen):,} of {plural(len(self._tables), 'table')} chosen",
            human_bytes(sum(table.size_bytes for table in chosen)),
            f"{human_estimate(sum(table.approximate_rows for table in chosen))} rows",
        ]
        room = None if self._look is None else self._look.room
        if room is not None and chosen:
            # One slot follows the source; each table that is being copied has one more.
            needed = min(self.services.migration.sync_workers, len(chosen)) + 1
            free = min(room.free_slots, room.free_walsenders)
            parts.append(f"needs {needed} slots, {max(0, free)} free{' (!)' if free < needed else ''}")
        return parts

    def _view_words(self) -> str:
        parts = []
        if len(self._shown) < len(self._tables):
            what = "tables with a problem" if self._only_problems else "tables that pass the filter"
            parts.append(f"{len(self._shown):,} {what}")
        if self._order is not TableOrder.NAME:
            parts.append(self._order.value)
        if self._accepted:
            parts.append(f"{plural(len(self._accepted), 'hypertable')}: v shows the script, x applies it")
        return "; ".join(parts)

    def _say(self, text: str) -> None:
        """Say what an action came to, until the next."""
        self._said = text
        if self._look is not None:
            self._show_head()

    def _cells(self, number: int) -> Mapping[str, Text]:
        line = self._lines[number]
        return self._schema_cells(line) if isinstance(line, SchemaLine) else self._table_cells(line)

    def _table_cells(self, row: TableRow) -> Mapping[str, Text]:
        table = row.table
        words, tone = key_words(table)
        quiet = self.tone("quiet") if table.problem else ""
        problems = self._problems.get(table.name, ())
        if table.problem is not None:
            mark = cell(_CANNOT, quiet)
        elif table.name in self._chosen:
            mark = cell(_CHOSEN, self.tone("good"))
        else:
            mark = cell(_NOT_CHOSEN)
        name = str(table.name)
        if self._order is TableOrder.NAME:
            name = f"  {quote_identifier(table.name.table)}"
        moved = row.target != table.name
        return {
            "mark": mark,
            "name": cell(name, quiet),
            "target": cell(str(row.target) if moved else "", self.tone("busy")),
            "kind": cell(table.kind.value, quiet),
            "rows": cell(human_estimate(table.approximate_rows), quiet, right=True),
            "size": cell(human_bytes(table.size_bytes), quiet, right=True),
            "key": cell(words, self.tone(tone)),
            "identity": cell(table.replica_identity.name.lower(), quiet),
            "flag": cell("!" if problems else "", self.tone("warn")),
            "problem": cell(problems[0] if problems else "", self.tone("warn")),
        }

    def _schema_cells(self, line: SchemaLine) -> Mapping[str, Text]:
        movable = [table for table in line.tables if table.problem is None]
        chosen = sum(1 for table in movable if table.name in self._chosen)
        name = cell(quote_identifier(line.schema), "bold")
        name.append(f"  {chosen:,} of {len(line.tables):,}", self.tone("quiet"))
        mark = _CANNOT
        if movable:
            mark = _CHOSEN if chosen == len(movable) else _SOME if chosen else _NOT_CHOSEN
        quiet = self.tone("quiet")
        target = self._map.schema_of(line.schema)
        moved = f"{quote_identifier(target)}.*" if target != line.schema else ""
        size = human_bytes(sum(table.size_bytes for table in line.tables))
        rows = human_estimate(sum(table.approximate_rows for table in line.tables))
        return {
            **_NO_CELLS,
            "mark": cell(mark, quiet),
            "name": name,
            "target": cell(moved, self.tone("busy")),
            "rows": cell(rows, quiet, right=True),
            "size": cell(size, quiet, right=True),
        }

    def _marked(self) -> Line | None:
        number = self._list.marked
        return self._lines[number] if number is not None and number < len(self._lines) else None

    def _marked_row(self) -> TableRow | None:
        """The marked table with the problems it has now."""
        line = self._marked()
        if not isinstance(line, TableRow):
            return None
        return TableRow(line.table, line.target, self._problems.get(line.table.name, ()), line.searched)

    def on_row_list_marked(self) -> None:
        self._show_details()

    def _show_details(self) -> None:
        row = self._marked_row()
        said = ""
        if row is not None:
            said = str(row.table.name)
            if row.target != row.table.name:
                said += f" lands in {row.target}"
            if row.problems:
                said += f": {'; '.join(row.problems)}"
        self.query_one("#details", Static).update(plain(said, "dim"))

    def on_row_list_chosen(self) -> None:
        row = self._marked_row()
        if row is None:
            self.action_mark()
            return
        text = table_details(row)
        self.app.push_screen(TextModal(str(row.table.name), text, "table.txt", self.copy))

    # Choosing.

    def _choose(self, chosen: set[TableName]) -> None:
        self._chosen = chosen
        self._said = ""
        self._choice_changed()

    def action_mark(self) -> None:
        line = self._marked()
        if isinstance(line, TableRow):
            self._choose(self._chosen ^ ({line.table.name} & self._movable))
            self._list.action_move(1)
        elif line is not None:
            movable = {table.name for table in line.tables} & self._movable
            self._choose(self._chosen - movable if movable <= self._chosen else self._chosen | movable)

    def _choose_shown(self, chosen: set[TableName], done: str) -> None:
        """Make ``chosen`` the choice, and say what that did to what is shown."""
        changed = len(self._chosen ^ chosen)
        self._choose(chosen)
        shown = len(self._shown)
        others = len(self._tables) - shown
        if others:
            self._say(f"{done} {changed:,} of the {shown:,} shown; {plural(others, 'other')} left alone")
        else:
            self._say(f"{done} {changed:,} of {plural(shown, 'table')}")

    @property
    def _shown_movable(self) -> set[TableName]:
        return {table.name for table in self._shown if table.problem is None}

    def action_choose_all(self) -> None:
        self._choose_shown(self._chosen | self._shown_movable, "marked")

    def action_choose_none(self) -> None:
        self._choose_shown(self._chosen - self._shown_movable, "unmarked")

    def action_invert(self) -> None:
        self._choose_shown(self._chosen ^ self._shown_movable, "turned around")

    def action_complete(self) -> None:
        if not self._to_add:
            self._say("No table can be added: nothing chosen refers to one that is not.")
            return
        added = sorted(self._to_add)
        self._choose(self._chosen | self._to_add)
        self._say(f"added {some_names(added)}")

    # What is shown.

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
        self._apply_filter()
        self._list.focus()

    def _apply_filter(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self._filter = read_filter(self.query_one("#filter", Input).value)
        self._said = ""
        self._fill()

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self._filter_timer = self.set_timer(_FILTER_DELAY_SECONDS, self._apply_filter)

    @on(Input.Submitted, "#filter")
    def _submitted(self) -> None:
        self._apply_filter()
        if self._shown:
            self._list.focus()

    def action_only_problems(self) -> None:
        self._only_problems = not self._only_problems
        self._said = ""
        self._fill()
        if self._shown:
            self._list.focus()

    def action_sort(self) -> None:
        self._order = self._order.following
        self._said = ""
        self._fill()

    # The choice as a file.

    def copy_text(self) -> tuple[str, str] | None:
        return (CHOICE_FILE, table_list_text(self._chosen)) if self._chosen else None

    def action_write(self) -> None:
        path = str(self.services.tables.folder() / CHOICE_FILE)
        text = "One name a line. The folder has to exist; a relative path begins in the migration's."
        self.app.push_screen(
            PathModal("Write the choice to which file?", text, path, act="Write"), self._write
        )

    def _write(self, path: str | None) -> None:
        if path is None:
            return
        self.notice(None)
        written = self.services.tables.save_choice(path, self._chosen)
        if isinstance(written, Failure):
            self.notice(written)
        else:
            self._say(f"{plural(len(self._chosen), 'name')} written to {written}")

    def action_load(self) -> None:
        if self._look is None:
            return
        path = str(self.services.tables.folder() / CHOICE_FILE)
        text = "Its tables are chosen, and no others."
        self.app.push_screen(
            PathModal("Take the choice from which file?", text, path, act="Take"), self._load
        )

    def _load(self, path: str | None) -> None:
        if path is None:
            return
        self.notice(None)
        names = self.services.tables.load_choice(path)
        if isinstance(names, Failure):
            self.notice(names)
            return
        self._choose(set(names) & self._movable)
        self._say(f"{plural(len(self._chosen), 'table')} of {path} chosen")
        self._say_not_taken(names)

    # The map.

    def action_map(self) -> None:
        line = self._marked()
        if line is None:
            return
        if isinstance(line, TableRow):
            name = line.table.name
            subject, target = str(name), table_name_text(self._targets[name])
        else:
            subject = f"schema {quote_identifier(line.schema)}"
            target = identifier_text(self._map.schema_of(line.schema))
        review = review_table_map(self._map, self._chosen)
        modal = TableMapModal(subject, target, review, partial(self._preview, line))
        self.app.push_screen(modal, partial(self._map_answered, line))

    def _edited(self, line: Line, typed: str) -> TableMap:
        """The map with what was typed for a table or schema.

        Raises:
            UsageError: It is no name.
        """
        if isinstance(line, TableRow):
            return map_table(self._map, line.table.name, parse_table_name(typed))
        return map_schema(self._map, line.schema, parse_identifier(typed))

    def _preview(self, line: Line, typed: str) -> MapPreview:
        try:
            edited = self._edited(line, typed)
        except UsageError as error:
            return MapPreview(error.failure.title, is_usable=False)
        if isinstance(line, SchemaLine):
            target = quote_identifier(edited.schema_of(line.schema))
            return MapPreview(f"Tables of it that no other map names land in {target}.*", is_usable=True)
        name = line.table.name
        target_name = edited.target_of(name)
        said = "It keeps its name." if target_name == name else f"It lands in {target_name}."
        others = [other for other in self._chosen if other != name and self._targets[other] == target_name]
        if others:
            said += f" So does {some_names(sorted(others))}; their keys must not meet."
        return MapPreview(said, is_usable=True)

    def _map_answered(self, line: Line, answer: MapAnswer | None) -> None:
        if answer is None:
            return
        path = str(self.services.tables.folder() / MAP_FILE)
        if answer.order is MapOrder.TAKE:
            self._use_map(self._edited(line, answer.typed))
        elif answer.order is MapOrder.CLEAR:
            self._use_map(TableMap())
        elif answer.order is MapOrder.LOAD:
            text = "It replaces the map that is in use: a JSON list of what --table-map takes."
            self.app.push_screen(
                PathModal("Take the table map from which file?", text, path, act="Take"), self._load_map
            )
        else:
            text = "run and refresh take its lines as --table-map. The folder has to exist."
            self.app.push_screen(
                PathModal("Write the table map to which file?", text, path, act="Write"), self._write_map
            )

    def _use_map(self, table_map: TableMap) -> None:
        self.notice(None)
        self._map = table_map
        self._map_is_broken = False
        self.remember(table_map=table_map.to_text() if table_map.mappings else "")
        written = self.services.tables.save_map(MAP_FILE, table_map)
        self._said = ""
        self._map_changed()
        self._choice_changed()
        self._fill()
        if isinstance(written, Failure):
            self.notice(written)
        else:
            review = review_table_map(table_map, self._chosen)
            idle = f"; {plural(len(review.idle), 'map')} of no use" if review.idle else ""
            self._say(f"{plural(len(review.moved), 'chosen table')} moved by the map{idle}; in {written}")

    def _load_map(self, path: str | None) -> None:
        if path is None:
            return
        table_map = self.services.tables.load_map(path)
        if isinstance(table_map, Failure):
            self.notice(table_map)
        else:
            self._use_map(table_map)

    def _write_map(self, path: str | None) -> None:
        if path is None:
            return
        self.notice(None)
        written = self.services.tables.save_map(path, self._map)
        if isinstance(written, Failure):
            self.notice(written)
        else:
            self._say(f"{plural(len(self._map.mappings), 'map')} written to {written}")

    # Hypertables.

    @property
    def _accepted(self) -> tuple[HypertableChoice, ...]:
        """Accepted hypertables among the chosen tables; none where there is no TimescaleDB."""
        if not self._has_timescaledb:
            return ()
        return tuple(one for one in self.services.migration.hypertables if one.table in self._chosen)

    @property
    def _has_timescaledb(self) -> bool:
        return self._look is not None and self._look.timescaledb_version is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide what needs TimescaleDB on the target where there is none."""
        if action in ("hypertables", "view", "apply"):
            if not self._has_timescaledb:
                return False
            if self.jobs.running or (action != "hypertables" and not self._accepted):
                return None
            return None if action == "apply" and self.services.dry_run else True
        return super().check_action(action, parameters)

    def action_hypertables(self) -> None:
        if not self.check_action("hypertables", ()):
            return
        self.notice(None)
        if self._suggestions is not None:
            self._offer(self._suggestions)
            return
        call = partial(self.services.tables.suggest, tuple(sorted(self._movable)))
        self.start_job("suggest", "looking for time columns", call, self._suggested)

    def _suggested(self, suggestions: tuple[HypertableSuggestion, ...] | Failure) -> None:
        if isinstance(suggestions, Failure):
            self.notice(suggestions)
            return
        self._suggestions = suggestions
        self._offer(suggestions)

    def _offer(self, suggestions: Sequence[HypertableSuggestion]) -> None:
        """Show the chosen tables that are worth it or accepted, and the marked one."""
        row = self._marked_row()
        marked = None if row is None else row.table.name
        accepted = {choice.table for choice in self._accepted}
        offered = [
            one
            for one in suggestions
            if one.table == marked
            or (one.table in self._chosen and (one.is_worth_it or one.table in accepted))
        ]
        if marked is not None and all(one.table != marked for one in offered):
            self._say(f"{marked} has no column that holds a time")
        elif not offered:
            self._say("No chosen table is worth being a hypertable; h on a table says why.")
        else:
            modal = HypertablesModal(offered, self.services.migration.hypertables, marked)
            self.app.push_screen(modal, self._accept)

    def _accept(self, choices: tuple[HypertableChoice, ...] | None) -> None:
        if choices is None or choices == self.services.migration.hypertables:
            return
        # What is planned is planned for the choice of tables that is shown.
        self.remember(hypertables=choices, tables=tuple(sorted(self._chosen)))
        self._said = ""
        self._plan(self._planned)

    def _plan(self, done: Callable[[Planned | Failure], None]) -> None:
        self.start_job("hypertables", "planning the hypertables", self._plan_and_write, done)

    def _plan_and_write(self) -> Planned | Failure:
        script = self.services.tables.plan_hypertables()
        if isinstance(script, Failure):
            return script
        file = self.services.scripts.generate(Side.TARGET, script)
        return file if isinstance(file, Failure) else (script, file)

    def _planned(self, planned: Planned | Failure) -> None:
        if isinstance(planned, Failure):
            self.notice(planned)
        else:
            self._say(planned_words(*planned))
        self.refresh_bindings()

    def action_view(self) -> None:
        if self.check_action("view", ()):
            self._keep_choice()
            self._plan(self._view)

    def _view(self, planned: Planned | Failure) -> None:
        self._planned(planned)
        if not isinstance(planned, Failure):
            script, file = planned
            copy = f"copy_of_{script.file_name}"
            self.app.push_screen(TextModal(str(file.path), file.text, copy, self.copy, large=True))

    def action_apply(self) -> None:
        if self.check_action("apply", ()):
            self._keep_choice()
            self._plan(self._ask_to_apply)

    def _ask_to_apply(self, planned: Planned | Failure) -> None:
        self._planned(planned)
        if isinstance(planned, Failure):
            return
        script, file = planned
        if not file.statements:
            return
        # The buttons have to stay on the screen.
        lines = [f"{one.sql};" for one in file.statements[:_STATEMENTS_SHOWN]]
        lines += [f"! {note}" for note in script.notes[:_NOTES_SHOWN]]
        more = len(file.statements) - _STATEMENTS_SHOWN
        if more > 0:
            lines.append(f"and {plural(more, 'statement')} more; v shows all of the script, with its notes")
        if file.is_edited:
            lines.insert(0, f"{script.file_name} was edited by you:")
        modal = ConfirmModal("Run it on the target?", "\n".join(lines), act="Run")
        self.app.push_screen(modal, partial(self._apply, script.file_name))

    def _apply(self, name: str, confirmed: bool | None) -> None:
        if confirmed:
            self.start_job(
                "apply", f"running {name}", partial(self.services.scripts.run, name), self._applied
            )

    def _applied(self, result: ScriptResult | Failure) -> None:
        if isinstance(result, Failure):
            self.notice(result)
            return
        applied = result.count(Outcome.APPLIED)
        if not result.refused:
            self._say(f"{plural(applied, 'hypertable')} made on the target")
            return
        self._say(f"{plural(applied, 'hypertable')} made on the target, {len(result.refused)} refused")
        text = "\n\n".join(
            f"{one.sql};\nPostgreSQL said: {one.said} (SQLSTATE {one.sqlstate})" for one in result.refused
        )
        self.app.push_screen(TextModal("Refused by the target", text, "refused.txt", self.copy))

    # The gate.

    def next_blocked(self) -> str | None:
        if self._look is None:
            return "the table list has not been read; r reads it again"
        if not self._chosen:
            return "no table is chosen; a chooses all"
        if self._map_is_broken:
            return "the migration's table map cannot be read; m gives it another"
        return None

    def next_hint(self) -> str:
        return "Next goes on although a table is missing" if self._left else super().next_hint()

    def _keep_choice(self) -> None:
        """Write the choice down, once there is one."""
        names = tuple(sorted(self._chosen))
        if self._look is not None and names != self.services.migration.tables:
            self.remember(tables=names)

    def advance(self) -> None:
        self._keep_choice()
        written = self.services.tables.save_choice(CHOICE_FILE, self._chosen)
        if isinstance(written, Failure):
            self.notice(written)
        super().advance()

    def action_back(self) -> None:
        self._keep_choice()
        super().action_back()

    def _go_to(self, step: Step | None) -> None:
        self._keep_choice()
        super()._go_to(step)
