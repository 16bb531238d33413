"""What the step Schema looks like: nothing to do, a part to do, its worst, and failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.catalog.table import TableName
from engine.errors import Failure
from engine.schema.comparison import ExtensionState, PlannedExtension
from engine.script.planned import ScriptStatement
from screens import wizard
from screens.migration import Step
from tests.screens.fake_services import HOSTILE_NAMES, FakeServices, shop_migration
from tests.screens.fakes.schema import FakeSchema, compared, shop_extensions, shop_schema
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

_MISSING = (TableName("public", "customers"),)
_RISK = "public.orders.total numeric(12,2) → numeric(10,2): larger numbers are refused"


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


def _at(schema: FakeSchema, *, dry_run: bool = False) -> WizardForTests:
    services = FakeServices(migration=shop_migration(Step.SCHEMA), schema=schema, dry_run=dry_run)
    return WizardForTests(services, Step.SCHEMA)


def _part() -> FakeSchema:
    return FakeSchema(shop_schema(), shop_extensions(), _MISSING)


def _worst() -> FakeSchema:
    extensions = (
        *shop_extensions(),
        PlannedExtension("w[/]x", "a[b]c", "2.1", "1.9", ExtensionState.OTHER_SCHEMA, is_older=True),
    )
    hostile = tuple(
        compared("TABLE", f"public.{name}", f"CREATE TABLE public.{name} (\n    id int\n);")
        for name in (*HOSTILE_NAMES, "line\nend\x1b[31m\u202eback")
    )
    refused = {f"table public.{name}": f'type "{name}" does not exist\nLINE 2: …' for name in HOSTILE_NAMES}
    return FakeSchema((*hostile, *shop_schema()), extensions, _MISSING, (_RISK, _RISK), refuses=refused)


@sizes
def test_nothing_to_do(snap_compare: SnapCompare, size: Size) -> None:
    """Both sides agree, Next is on."""
    assert snap_compare(_at(FakeSchema()), terminal_size=size, run_before=_then())


@sizes
def test_a_part_is_missing(snap_compare: SnapCompare, size: Size) -> None:
    """Extensions first, then objects; the marked one differs."""
    keys = ("down", "down", "down", "down", "down")
    assert snap_compare(_at(_part()), terminal_size=size, run_before=_then(*keys))


@sizes
def test_tables_first(snap_compare: SnapCompare, size: Size) -> None:
    """What was made, and what waits for the rows."""
    app = _at(_part())
    assert snap_compare(app, terminal_size=size, run_before=_then("x", "right", "enter"))
    assert app.fake.schema.calls == ["tables first"]
    assert app.fake.migration.builds_schema


@sizes
def test_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Odd names, refusals in PostgreSQL's words, columns that differ, an extension that is elsewhere."""
    keys = ("shift+tab", "enter", "right", "enter", "tab", "f", "f", "down", "down")
    assert snap_compare(_at(_worst()), terminal_size=size, run_before=_then(*keys))


@sizes
def test_it_could_not_be_compared(snap_compare: SnapCompare, size: Size) -> None:
    """No pg_dump; the tables are there all the same."""
    problem = Failure("No pg_dump here is new enough for PostgreSQL 18", "pg_dump 15.4", "Install it")
    assert snap_compare(_at(FakeSchema(problem=problem)), terminal_size=size, run_before=_then())


def test_an_edited_script_that_drops_asks_for_the_name(snap_compare: SnapCompare) -> None:
    """The name has to be typed before anything is run."""
    schema = _part()
    schema.edited = (ScriptStatement("mine", "DROP TABLE public.notes"),)
    schema.drops = ("public.notes",)
    assert snap_compare(_at(schema), run_before=_then("x"))


def test_a_dry_run(snap_compare: SnapCompare) -> None:
    """Nothing can be made, Next is on."""
    assert snap_compare(_at(_part(), dry_run=True), run_before=_then())


def test_a_filter_that_finds_nothing(snap_compare: SnapCompare) -> None:
    """Says how to get out of it."""
    assert snap_compare(_at(_part()), run_before=_then("slash", "z", "z", "enter"))
