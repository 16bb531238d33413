"""The step Schema by its keys: what is asked before something is made or dropped, and what is said then."""

from __future__ import annotations

from threading import Event as Signal
from typing import Any

from textual.pilot import Pilot

from engine.catalog.table import TableName
from engine.errors import Failure
from engine.script.planned import ScriptStatement
from screens.identity import IdentityScreen
from screens.migration import Step
from screens.schema import SchemaScreen
from tests.screens import scenario
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.fakes.schema import FakeSchema, compared, shop_extensions, shop_schema
from tests.screens.scenario import WizardForTests, play, press, settle

_CUSTOMERS = (TableName("public", "customers"),)


def _services(schema: FakeSchema, *, dry_run: bool = False) -> FakeServices:
    return FakeServices(migration=shop_migration(Step.SCHEMA), schema=schema, dry_run=dry_run)


def shown(app: WizardForTests) -> str:
    """The screen as words."""
    return " ".join(scenario.shown(app).split())


async def _type(pilot: Pilot[Any], text: str) -> None:
    names = {".": "full_stop", "_": "underscore"}
    await pilot.press(*(names.get(character, character) for character in text))
    await press(pilot, "enter")


def test_a_refused_object_is_said_in_postgresql_s_words_and_the_others_are_made() -> None:
    said = "column orders.total does not exist"
    schema = FakeSchema(shop_schema(), shop_extensions(), _CUSTOMERS, refuses={"view public.sales": said})

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Next is off" in shown(app)
        await press(pilot, "x")
        assert "recorded on the target for the subscription shop" in shown(app)
        # The safe answer has the focus.
        await press(pilot, "enter")
        assert schema.calls == []
        await press(pilot, "x", "right", "enter")
        assert schema.calls == ["tables first"]
        assert "2 made, 1 refused" in shown(app)
        assert "2 keys, indexes and other objects wait" in shown(app)
        assert app.fake.migration.builds_schema
        assert "1 statement not run; Next goes on to Identity" in shown(app)
        await press(pilot, "f", "f")
        assert "shown: refused" in shown(app)
        await press(pilot, "down")
        assert said in shown(app)
        await press(pilot, "enter")
        assert "SQLSTATE 42704" in shown(app)
        await press(pilot, "escape", "ctrl+n")
        assert isinstance(app.step, IdentityScreen)

    play(walk, _services(schema), Step.SCHEMA)


def test_results_are_drawn_while_the_work_goes_on() -> None:
    schema = FakeSchema(shop_schema(), waits_for=Signal())
    assert schema.waits_for is not None
    release = schema.waits_for

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        step = app.step
        assert isinstance(step, SchemaScreen)
        await press(pilot, "x")
        await pilot.press("right", "enter")
        while "1 done" not in shown(app):
            await pilot.pause()
            step.poll()
        assert "✓ made table public.customers" in shown(app)
        assert "○ missing view public.sales" in shown(app)
        # Nothing else can be begun meanwhile.
        await pilot.press("x")
        await pilot.press("r")
        release.set()
        await settle(pilot)
        assert "✓ made view public.sales" in shown(app)
        assert schema.calls == ["tables first"]

    play(walk, _services(schema), Step.SCHEMA)


def test_a_lost_connection_keeps_what_was_told_and_says_why() -> None:
    lost = Failure("The connection to the target was lost", "server closed the connection")
    schema = FakeSchema(shop_schema(), missing=_CUSTOMERS, apply_failure=lost)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x", "right", "enter")
        assert "The connection to the target was lost. Press e" in shown(app)
        assert "✓ made" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, SchemaScreen)

    play(walk, _services(schema), Step.SCHEMA)


def test_a_drop_in_an_edited_script_is_run_only_after_its_name_was_typed() -> None:
    schema = FakeSchema(shop_schema(), missing=_CUSTOMERS)
    schema.edited = (ScriptStatement("mine", "DROP TABLE public.notes, public.old"),)
    schema.drops = ("public.notes", "public.old")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "schema_dump.sql was edited by you" in shown(app)
        await press(pilot, "x")
        await _type(pilot, "public.note")
        assert "You typed “public.note”" in shown(app)
        await press(pilot, "escape")
        await press(pilot, "x")
        await _type(pilot, "public.notes")
        await press(pilot, "escape")
        assert schema.calls == []
        await press(pilot, "x")
        await _type(pilot, "public.notes")
        await _type(pilot, "public.old")
        assert "Make the tables?" in shown(app)
        await press(pilot, "right", "enter")
        assert schema.calls == ["tables first", "may drop public.notes", "may drop public.old"]
        # What no object is known for is a line of its own.
        assert "✓ made script mine" in shown(app)
        await press(pilot, "d", "right", "enter")
        assert "was edited by you" not in shown(app)

    play(walk, _services(schema), Step.SCHEMA)


def test_an_object_is_dropped_only_after_its_name_was_typed() -> None:
    schema = FakeSchema(shop_schema())

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        # What is identical or missing cannot be dropped here.
        await press(pilot, "k", "down", "k")
        assert "Drop this" not in shown(app)
        await press(pilot, "end", "k")
        assert "Drop this table of the target?" in shown(app)
        await _type(pilot, "yes")
        assert schema.calls == []
        await press(pilot, "escape", "k")
        await _type(pilot, "public.notes")
        assert schema.calls == ["drop table public.notes"]
        assert "public.notes" not in shown(app)
        # What differs is shown as a diff, and missing once it was dropped.
        await press(pilot, "home", "down", "down")
        assert "- total numeric(10,2)" in shown(app)
        await press(pilot, "k")
        await _type(pilot, "public.orders")
        assert "○ missing table public.orders" in shown(app)

    play(walk, _services(schema), Step.SCHEMA)


def test_a_refused_drop_is_said() -> None:
    said = "cannot drop table public.orders because other objects depend on it"
    schema = FakeSchema(shop_schema(), refuses={"drop of table public.orders": said})

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "down", "k")
        await _type(pilot, "public.orders")
        assert "drop of table public.orders was refused" in shown(app)
        await press(pilot, "e")
        assert said in shown(app)

    play(walk, _services(schema), Step.SCHEMA)


def test_what_was_made_is_undone_only_after_the_database_was_typed() -> None:
    schema = FakeSchema(shop_schema(), missing=_CUSTOMERS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "u")
        assert "Drop what" not in shown(app)
        await press(pilot, "x", "right", "enter")
        assert app.fake.migration.builds_schema
        await press(pilot, "u")
        await _type(pilot, "shop")
        assert "undo" not in schema.calls
        await press(pilot, "escape", "u")
        await _type(pilot, "tsdb")
        assert schema.calls[-1] == "undo"
        assert not app.fake.migration.builds_schema
        assert "4 missing" in shown(app)

    play(walk, _services(schema), Step.SCHEMA)


def test_a_dry_run_makes_nothing_and_goes_on() -> None:
    schema = FakeSchema(shop_schema(), missing=_CUSTOMERS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "a dry run makes nothing" in shown(app)
        await press(pilot, "x", "shift+tab", "enter", "end", "k", "u")
        assert schema.calls == []
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, IdentityScreen)

    play(walk, _services(schema, dry_run=True), Step.SCHEMA)


def test_columns_that_differ_are_a_warning_at_next() -> None:
    schema = FakeSchema(
        risks=("public.orders.total numeric(12,2) → numeric(10,2): larger numbers are refused",)
    )

    async def walk(_pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "1 column differs; Next goes on to Identity" in shown(app)
        assert "public.orders.total numeric(12,2)" in shown(app)

    play(walk, _services(schema), Step.SCHEMA)


def test_schemas_that_cannot_be_compared_do_not_hold_up_tables_that_are_there() -> None:
    schema = FakeSchema(problem=Failure("No pg_dump here is new enough", "found 15.4", "Install 18"))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "could not be compared" in shown(app)
        await press(pilot, "x", "v", "f", "k", "i", "ctrl+n")
        assert isinstance(app.step, IdentityScreen)

    play(walk, _services(schema), Step.SCHEMA)


def test_ten_thousand_objects_are_found_by_a_part_of_a_name() -> None:
    many = tuple(
        compared("TABLE", f"public.t{number}", f"CREATE TABLE t{number} ();") for number in range(10_000)
    )
    schema = FakeSchema(many)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "10,000 objects: 10,000 missing" in shown(app)
        await press(pilot, "end")
        assert "public.t9999" in shown(app)
        await press(pilot, "slash", "t", "7", "7", "7", "7", "enter")
        assert "CREATE TABLE t7777 ();" in shown(app)
        assert "public.t9999" not in shown(app)
        # Everything comes back, with the same line marked.
        await press(pilot, "escape")
        assert "public.t7776" in shown(app)
        assert "CREATE TABLE t7777 ();" in shown(app)
        await press(pilot, "slash", "z", "z", "enter")
        assert "Nothing here has “zz” in its name or kind" in shown(app)

    play(walk, _services(schema), Step.SCHEMA)


def test_an_edited_script_that_is_no_sql_is_said_and_can_be_written_anew() -> None:
    schema = FakeSchema(shop_schema(), unreadable=Failure("Line 224 cannot be read as SQL"))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Line 224 cannot be read as SQL" in shown(app)
        assert "i edits it, d drops your edits" in shown(app)
        # What was compared is shown all the same.
        assert "public.customers" in shown(app)
        await press(pilot, "x")
        assert schema.calls == []
        await press(pilot, "d", "right", "enter")
        assert "cannot be" not in shown(app)
        await press(pilot, "x", "right", "enter")
        assert schema.calls == ["tables first"]

    play(walk, _services(schema), Step.SCHEMA)
