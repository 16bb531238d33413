"""The step Tables by its keys: choosing, filtering, the map, files, hypertables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.catalog.hypertable_choice import HypertableChoice
from engine.catalog.schema_tables import TableTie
from engine.catalog.table import TableName
from engine.catalog.table_list import table_list_text
from engine.catalog.table_map import TableMap, TableMapping, read_table_map
from engine.errors import Failure
from engine.script.planned import ScriptStatement
from screens.migration import Step
from screens.modals.hypertables import HypertablesModal
from screens.roles import RolesScreen
from screens.table_filter import read_filter
from screens.table_rows import TableRow
from screens.tables import TablesScreen
from screens.user import UserScreen
from tests.screens.fake_services import FakeServices, shop_migration, shop_tables, source_table
from tests.screens.fakes.tables import FOLDER, FakeTables
from tests.screens.scenario import LARGE, SMALL, WizardForTests, paste, play, press, shown
from tests.screens.test_tables_snapshots import CHOICES, HYPERTABLES, MOVEMENTS, ORDERS, SUGGESTIONS, TIES

CUSTOMERS = TableName("public", "customers")
LINES = TableName("public", "order_lines")
ITEMS = TableName("stock", "items")


def _services(**given: Any) -> FakeServices:
    tables = FakeTables(shop_tables(), TIES, **given)
    return FakeServices(migration=shop_migration(Step.TABLES), tables=tables)


def _row(name: TableName, size_bytes: int = 0, rows: int = 0, problems: tuple[str, ...] = ()) -> TableRow:
    table = source_table(1, name, size_bytes=size_bytes, approximate_rows=rows)
    return TableRow(table, name, problems, str(name).lower())


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", "abc"),
        ("ORD", "a"),
        ("public.ord", "a"),
        ("public.", "a"),
        ("lic.", ""),
        ('"my', "b"),
        ("my schema", "b"),
        ("my.", ""),
        ("size>10GB", "c"),
        ("size>=10gb", "bc"),
        ("size<10GB rows>1k", "a"),
        ("rows<=1,000", "bc"),
        ("problem:", "c"),
        ("problem:KEY", "c"),
        ("problem:zzz", ""),
    ],
)
def test_a_filter_shows_what_all_its_parts_mean(typed: str, found: str) -> None:
    rows = {
        "a": _row(ORDERS, 5, 2_000),
        "b": _row(TableName("My schema", "x"), 10 << 30, 1_000),
        "c": _row(TableName("stock", "items"), 11 << 30, 7, ("no key: x",)),
    }
    read = read_filter(typed)
    assert not read.mistake
    assert "".join(key for key, row in rows.items() if read.takes(row)) == found


@pytest.mark.parametrize("typed", ["size>", "size>x", "size>1parsec", "rows>..", "rows<1kb"])
def test_a_filter_that_cannot_be_read_is_said_and_hides_nothing(typed: str) -> None:
    read = read_filter(typed)
    assert typed in read.mistake
    assert read.takes(_row(ORDERS))


def test_keys_for_many_tables_act_on_what_is_shown_and_say_so() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "slash", *"stock", "full_stop", "enter", "n")
        assert "unmarked 2 of the 2 shown; 5 others left alone" in shown(app)
        assert "4 of 7 tables chosen" in shown(app)
        await press(pilot, "escape", "t")
        assert "2 of 7 tables chosen" in shown(app)
        await press(pilot, "a")
        assert "marked 4 of 7 tables" in shown(app)
        # The schema's line marks all of it, then none.
        await press(pilot, "home", "space")
        assert "2 of 7 tables chosen" in shown(app)
        await press(pilot, "space")
        assert "6 of 7 tables chosen" in shown(app)

    play(walk, services, Step.TABLES)


def test_a_table_that_cannot_be_moved_is_never_chosen() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "slash", *"cache", "enter", "down", "space", "a", "t", "t", "ctrl+n")
        assert isinstance(app.step, RolesScreen)
        assert TableName("public", "sessions_cache") not in services.migration.tables

    play(walk, services, Step.TABLES)


def test_what_a_choice_leaves_behind_is_said_and_can_be_pulled_in() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "n")
        await press(pilot, "slash", *"order_lines", "enter", "a")
        assert "p adds 2 tables: public.order_lines references public.orders" in shown(app)
        assert "a table is missing" in shown(app)
        await press(pilot, "p")
        assert "added public.customers, public.orders" in shown(app)
        await press(pilot, "ctrl+n")
        assert services.migration.tables == (CUSTOMERS, LINES, ORDERS)
        assert services.tables.choices["tables.txt"] == (CUSTOMERS, LINES, ORDERS)

    play(walk, services, Step.TABLES, size=LARGE)


def test_a_table_that_cannot_be_moved_is_not_pulled_in() -> None:
    services = _services()
    services.tables.ties = (TableTie(ORDERS, TableName("public", "sessions_cache"), "k"),)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "public.sessions_cache, which is not chosen and cannot be" in shown(app)
        await press(pilot, "p")
        assert "No table can be added" in shown(app)

    play(walk, services, Step.TABLES, size=LARGE)


def test_only_problems_are_shown_and_the_list_is_sorted() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "f")
        assert "2 tables with a problem" in shown(app)
        assert "customers" not in shown(app)
        await press(pilot, "f", "s")
        text = shown(app)
        places = [text.index(name) for name in ("public.order_lines", "stock.movements", "public.orders")]
        assert places == sorted(places)

    play(walk, services, Step.TABLES)


def test_going_back_keeps_the_choice() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "space", "ctrl+o")
        assert isinstance(app.step, UserScreen)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, TablesScreen)
        assert "5 of 7 tables chosen" in shown(app)

    play(walk, services, Step.TABLES)


def test_a_remembered_table_that_is_gone_is_said() -> None:
    services = _services()
    services.migration = replace(services.migration, tables=(ORDERS, TableName("public", "gone")))

    async def look(_pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "not on the source: public.gone" in shown(app)
        assert "1 of 7 tables chosen" in shown(app)

    play(look, services, Step.TABLES)


def test_the_choice_is_written_and_taken_from_a_file() -> None:
    services = _services()
    services.tables.choices["/tmp/mine.txt"] = (ITEMS, TableName("public", "sessions_cache"))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "w", "enter")
        assert len(services.tables.choices) == 2
        assert len(services.tables.choices[str(FOLDER / "tables.txt")]) == 6  # type: ignore[arg-type]
        await press(pilot, "o", "ctrl+u")
        await paste(pilot, "/tmp/mine.txt")
        await press(pilot, "enter")
        assert "1 of 7 tables chosen" in shown(app)
        assert "cannot be moved: public.sessions_cache" in shown(app)
        await press(pilot, "o", "ctrl+u")
        await paste(pilot, "/tmp/other.txt")
        await press(pilot, "enter")
        assert "/tmp/other.txt cannot be read" in shown(app)
        assert "1 of 7 tables chosen" in shown(app)
        await press(pilot, "y")
        assert services.files["tables.txt"] == table_list_text([ITEMS])

    play(walk, services, Step.TABLES, size=LARGE)


def test_a_table_and_a_schema_are_mapped_and_remembered() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "down", "m", "ctrl+u")
        await paste(pilot, "nothing")
        await press(pilot, "enter")
        assert "is not a name" in shown(app)
        await press(pilot, "ctrl+u")
        await paste(pilot, '"Crm"."Old customers"')
        await press(pilot, "enter")
        assert "1 chosen table moved by the map" in shown(app)
        assert '"Crm"."Old customers"' in shown(app)
        await press(pilot, "slash", *"stock", "full_stop", "enter", "home", "m", "ctrl+u")
        await paste(pilot, "warehouse")
        await press(pilot, "enter")
        assert "warehouse.*" in shown(app)
        table_map = read_table_map(services.migration.table_map, "f")
        assert table_map.target_of(CUSTOMERS) == TableName("Crm", "Old customers")
        assert table_map.target_of(ITEMS) == TableName("warehouse", "items")
        assert services.tables.maps["table_map.json"] == table_map
        # What the map was is there again when the step is shown again.
        await press(pilot, "escape", "ctrl+o", "ctrl+n")
        assert "warehouse.*" in shown(app)

    play(walk, services, Step.TABLES, size=LARGE)


def test_a_map_is_loaded_saved_and_dropped() -> None:
    services = _services()
    all_orders = TableMap((TableMapping("public", "order.*", "sales", "all"),))
    services.tables.maps["/tmp/map.json"] = all_orders

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "m", "tab", "tab", "tab", "enter", "ctrl+u")
        await paste(pilot, "/tmp/map.json")
        await press(pilot, "enter")
        assert read_table_map(services.migration.table_map, "f") == all_orders
        assert "shares sales.all" in shown(app)
        await press(pilot, "m", "tab", "tab", "tab", "tab", "enter", "ctrl+u")
        await paste(pilot, "/tmp/copy.json")
        await press(pilot, "enter")
        assert services.tables.maps["/tmp/copy.json"] == all_orders
        await press(pilot, "m", "tab", "tab", "tab", "enter", "ctrl+u")
        await paste(pilot, "/tmp/gone.json")
        await press(pilot, "enter")
        assert "/tmp/gone.json cannot be read" in shown(app)
        await press(pilot, "m", "shift+tab", "enter")
        assert services.migration.table_map == ""
        assert "sales" not in shown(app)

    play(walk, services, Step.TABLES, size=LARGE)


def test_a_map_that_cannot_be_read_holds_next_up_until_there_is_another() -> None:
    services = _services()
    services.migration = replace(services.migration, table_map="[1]")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, TablesScreen)
        await press(pilot, "m", "shift+tab", "enter", "ctrl+n")
        assert isinstance(app.step, RolesScreen)

    play(walk, services, Step.TABLES)


def test_without_timescaledb_on_the_target_nothing_is_said_of_it() -> None:
    services = _services(suggestions=SUGGESTIONS, hypertables=HYPERTABLES)
    services.migration = replace(services.migration, hypertables=CHOICES)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "h", "v", "x")
        assert services.tables.asked == []
        assert "ypertable" not in shown(app)
        await press(pilot, "f1")
        assert "ypertable" not in shown(app)

    play(walk, services, Step.TABLES, size=(120, 60))


def test_a_suggestion_is_accepted_planned_and_applied() -> None:
    services = _services(timescaledb_version="2.23.0", suggestions=SUGGESTIONS, hypertables=HYPERTABLES)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x")
        assert "hypertables.sql" not in services.scripts.scripts
        await press(pilot, "end", "h")
        assert "does not have moved_at in it" in shown(app)
        await press(pilot, "space", "enter")
        assert services.migration.hypertables == CHOICES
        assert "hypertables.sql: 1 to run" in shown(app)
        await press(pilot, "x")
        assert "create_hypertable" in shown(app)
        # The safe answer has the focus.
        await press(pilot, "enter")
        assert services.scripts.ran == []
        await press(pilot, "x", "right", "enter")
        assert [name for name, _ in services.scripts.ran] == ["hypertables.sql"]
        assert "1 hypertable made on the target" in shown(app)
        # Closed with escape nothing is changed.
        await press(pilot, "h", "space", "escape")
        assert services.migration.hypertables == CHOICES
        await press(pilot, "h", "space", "enter")
        assert services.migration.hypertables == ()

    play(walk, services, Step.TABLES, size=LARGE)


def test_what_the_target_refuses_is_shown_in_its_words() -> None:
    services = _services(timescaledb_version="2.23.0", hypertables=HYPERTABLES)
    services.migration = replace(services.migration, hypertables=CHOICES)
    services.scripts.refuses["hypertable stock.movements by moved_at"] = "cannot create a unique index"

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x", "right", "enter")
        assert "cannot create a unique index" in shown(app)

    play(walk, services, Step.TABLES, size=LARGE)


def test_tables_that_are_not_on_the_target_yet_wait() -> None:
    waiting = replace(HYPERTABLES, statements=(ScriptStatement("x", "select 1", "not on the target yet: …"),))
    services = _services(timescaledb_version="2.23.0", hypertables=waiting)
    services.migration = replace(services.migration, hypertables=CHOICES)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x")
        assert "0 to run, 1 not (not on the target yet" in shown(app)
        assert services.scripts.ran == []

    play(walk, services, Step.TABLES, size=LARGE)


def test_a_dry_run_makes_no_hypertable_but_writes_the_script() -> None:
    services = _services(timescaledb_version="2.23.0", hypertables=HYPERTABLES)
    services.migration = replace(services.migration, hypertables=CHOICES)
    services.dry_run = True

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x")
        assert "hypertables.sql" not in services.scripts.scripts
        await press(pilot, "v")
        assert "create_hypertable" in shown(app)
        assert "hypertables.sql" in services.scripts.scripts

    play(walk, services, Step.TABLES, size=LARGE)


def test_a_column_that_counts_in_an_unknown_unit_needs_an_interval() -> None:
    services = _services(timescaledb_version="2.23.0", suggestions=SUGGESTIONS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "end", "h", "c", "space")
        assert "i types the interval" in shown(app)
        await press(pilot, "i", "x", "enter")
        assert "is no chunk interval" in shown(app)
        await press(pilot, "backspace", *"86400", "enter")
        assert isinstance(app.screen, HypertablesModal)
        await press(pilot, "enter")
        assert services.migration.hypertables == (HypertableChoice(MOVEMENTS, "ts", 86_400),)

    play(walk, services, Step.TABLES)


def test_a_table_without_a_time_column_is_said() -> None:
    services = _services(timescaledb_version="2.23.0", suggestions=SUGGESTIONS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "down", "h")
        assert "public.customers has no column that holds a time" in shown(app)

    play(walk, services, Step.TABLES)


def test_a_list_that_cannot_be_read_is_said_and_read_again() -> None:
    services = _services()
    tables, services.tables.tables = services.tables.tables, Failure("The source is gone")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "The source is gone. Press e for details." in shown(app)
        await press(pilot, "a", "n", "t", "s", "f", "f", "m", "h", "p", "o", "y", "space", "ctrl+n")
        assert isinstance(app.step, TablesScreen)
        services.tables.tables = tables
        await press(pilot, "r", "down", "down", "space")
        assert "5 of 7 tables chosen" in shown(app)

    play(walk, services, Step.TABLES)


def test_the_marked_line_stays_in_sight_in_a_list_of_any_length() -> None:
    names = [TableName("public", f"t{number:05}") for number in range(10_000)]
    services = FakeServices(
        migration=shop_migration(Step.TABLES),
        tables=FakeTables(tuple(source_table(number, name) for number, name in enumerate(names, 1))),
    )

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "end")
        assert "t09999" in shown(app)
        await press(pilot, "pageup", "space")
        assert "9,999 of 10,000 tables chosen" in shown(app)
        await press(pilot, "home")
        assert "[-] public  9,999 of 10,000" in shown(app)
        # The marked table stays marked in another order, and when the filter lets it through.
        await press(pilot, "down", "down", "s", "slash", *"0001", "enter")
        step = app.step
        assert isinstance(step, TablesScreen)
        row = step._marked_row()
        assert row is not None
        assert row.table.name.table == "t00001"

    play(walk, services, Step.TABLES, size=SMALL)
