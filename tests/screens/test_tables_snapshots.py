"""What the step Tables looks like, at the size it is made for and at a roomy one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.catalog.hypertable import (
    ChunkInterval,
    HypertableSuggestion,
    Obstacle,
    TimeColumn,
    TimeKind,
)
from engine.catalog.hypertable_choice import HypertableChoice
from engine.catalog.schema_tables import TableTie
from engine.catalog.table import ReplicaIdentity, SourceTable, TableKind, TableName
from engine.catalog.table_map import TableMap, TableMapping
from engine.errors import Failure, Retry
from engine.script.planned import Script, ScriptStatement
from livesync_tui.theme import NIGHT, SIXTEEN_COLOURS
from screens import wizard
from screens.migration import Step
from screens.step_services.tables import SourceRoom
from tests.screens.fake_services import FakeServices, shop_migration, shop_tables, source_table
from tests.screens.fakes.tables import FakeTables
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

ORDERS = TableName("public", "orders")
MOVEMENTS = TableName("stock", "movements")
TIES = (
    TableTie(TableName("public", "order_lines"), ORDERS, "order_lines_order_fkey"),
    TableTie(ORDERS, TableName("public", "customers"), "orders_customer_fkey"),
)
MAP = TableMap(
    (
        TableMapping("public", "orders|order_lines", "sales", "all_orders"),
        TableMapping("stock", None, "warehouse", None),
        TableMapping("gone", "x", "public", "x"),
    )
)
SUGGESTIONS = (
    HypertableSuggestion(
        MOVEMENTS,
        True,
        ("about 31,000,000 rows, which is much", "12,000 inserts against 3 updates and deletes: mostly …"),
        (
            TimeColumn(
                "moved_at",
                TimeKind.TIMESTAMPTZ,
                None,
                ChunkInterval(604_800, "7 days", None),
                180_000.0,
                172.0,
                ("rows come in its order",),
                (
                    Obstacle(
                        "The primary key (id) does not have moved_at in it, "
                        "and every key of a hypertable must",
                        "On the target drop it, or make it (id, moved_at): then two rows may be equal "
                        "but for their time",
                    ),
                ),
            ),
            TimeColumn(
                "ts", TimeKind.INTEGER, None, ChunkInterval(604_800, "7 days", None), None, None, (), ()
            ),
        ),
    ),
    HypertableSuggestion(
        ORDERS,
        False,
        ("about 12,400,000 rows, which is much", "changed often"),
        (
            TimeColumn(
                "placed",
                TimeKind.DATE,
                None,
                ChunkInterval(2_592_000, "30 days", None),
                900.0,
                4_000.0,
                ("rows come in its order",),
                (),
            ),
        ),
    ),
)
CHOICES = (HypertableChoice(MOVEMENTS, "moved_at", "7 days"),)
HYPERTABLES = Script(
    "hypertables.sql",
    "Hypertables of the accepted tables",
    (
        ScriptStatement(
            "hypertable stock.movements by moved_at",
            'select public.create_hypertable(\'"stock"."movements"\'::regclass, '
            "public.by_range('moved_at', '7 days'::interval), create_default_indexes => false)",
        ),
    ),
    (),
    ("stock.movements: The primary key (id) does not have moved_at in it. On the target drop it",),
)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def _then(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    return run


def _app(tables: FakeTables, theme: str = NIGHT.name, **changes: object) -> WizardForTests:
    services = FakeServices(migration=shop_migration(Step.TABLES, **changes), tables=tables)
    return WizardForTests(services, Step.TABLES, theme)


def _shop(**given: Any) -> FakeTables:
    return FakeTables(shop_tables(), TIES, timescaledb_version="2.23.0", **given)


def _worst_tables() -> tuple[SourceTable, ...]:
    """Ten thousand tables with names, numbers and problems that no column is wide enough for."""
    nasty = (
        "w[/]x",
        "[red]loud",
        "\x1b[31m\x1b[2J",
        "one\ntwo",
        "\u202eright",
        "שולחן",
        "语言表格" * 5,
        "x" * 63,
    )
    tables = [
        source_table(
            number,
            TableName(f"schema {number % 15}", nasty[number % 8] if number < 120 else f"table_{number}"),
            kind=list(TableKind)[number % 3],
            replica_identity=list(ReplicaIdentity)[number % 4],
            problem=f"it is unlogged {nasty[number % 8]}" if number % 7 == 0 else None,
            size_bytes=2**62 + number,
            approximate_rows=2**62 + number,
        )
        for number in range(10_000)
    ]
    return tuple({table.name: table for table in tables}.values())


@sizes
def test_tables(snap_compare: SnapCompare, size: Size) -> None:
    """Two schemas, one table that others refer to unmarked, one that cannot be moved."""
    assert snap_compare(_app(_shop()), terminal_size=size, run_before=_then("down", "down", "space"))


@sizes
def test_tables_with_a_map(snap_compare: SnapCompare, size: Size) -> None:
    """Where they land, and two that land in one."""
    app = _app(_shop(), table_map=MAP.to_text(), hypertables=CHOICES)
    assert snap_compare(app, terminal_size=size, run_before=_then("end"))


@sizes
def test_tables_at_their_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Ten thousand, with hostile names and huge numbers; too few slots."""
    worst = _worst_tables()
    ties = (TableTie(worst[1].name, worst[7].name, "x" * 63),)
    app = _app(FakeTables(worst, ties, SourceRoom(0, -3)), sync_workers=64)
    assert snap_compare(app, terminal_size=size, run_before=_then("down", "pagedown"))


@sizes
def test_tables_when_there_are_none(snap_compare: SnapCompare, size: Size) -> None:
    """An empty source."""
    assert snap_compare(_app(FakeTables(())), terminal_size=size, run_before=_then())


@sizes
def test_tables_that_could_not_be_read(snap_compare: SnapCompare, size: Size) -> None:
    """The reason on the gate line."""
    failure = Failure("The source refused to be read", "permission denied", "Grant it", retry=Retry.MANUAL)
    assert snap_compare(_app(FakeTables(failure)), terminal_size=size, run_before=_then())


def test_tables_with_a_filter_that_finds_nothing(snap_compare: SnapCompare) -> None:
    """Says how to get out of it."""
    assert snap_compare(_app(_shop()), run_before=_then("slash", "z", "z", "enter"))


def test_tables_by_size_with_a_filter_that_cannot_be_read(snap_compare: SnapCompare) -> None:
    """Says what cannot be read; the list stays."""
    assert snap_compare(_app(_shop()), run_before=_then("s", "slash", *"size", "greater_than_sign", "enter"))


@sizes
def test_tables_map_editor(snap_compare: SnapCompare, size: Size) -> None:
    """What the map does now, and what was typed."""
    app = _app(_shop(), table_map=MAP.to_text())
    assert snap_compare(app, terminal_size=size, run_before=_then("down", "m", "end", "backspace"))


@sizes
def test_tables_hypertables(snap_compare: SnapCompare, size: Size) -> None:
    """Why, in which pieces, and what is in the way."""
    app = _app(_shop(suggestions=SUGGESTIONS), hypertables=CHOICES)
    assert snap_compare(app, terminal_size=size, run_before=_then("h"))


def test_tables_hypertables_interval(snap_compare: SnapCompare) -> None:
    """An interval that is none is refused with what to type."""
    app = _app(_shop(suggestions=SUGGESTIONS))
    assert snap_compare(app, run_before=_then("h", "c", "i", "x", "enter"))


def test_tables_hypertables_are_applied_after_a_question(snap_compare: SnapCompare) -> None:
    """The exact statement and what is in the way; the safe answer has the focus."""
    assert snap_compare(_app(_shop(hypertables=HYPERTABLES), hypertables=CHOICES), run_before=_then("x"))


def test_tables_without_colours(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the marked line is reverse and states are words."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(_app(_shop()), run_before=_then("down"))


def test_tables_in_sixteen_colours(snap_compare: SnapCompare) -> None:
    """The terminal's own colours."""
    assert snap_compare(_app(_shop(), SIXTEEN_COLOURS), run_before=_then("down"))


def test_tables_choice_to_a_file(snap_compare: SnapCompare) -> None:
    """Where to."""
    app = _app(_shop())
    app.fake.migration = replace(app.fake.migration, dropped_at=None)
    assert snap_compare(app, run_before=_then("w"))
