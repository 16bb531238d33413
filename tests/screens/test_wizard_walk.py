"""The whole wizard by keys alone, from two connection strings to the report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from textual.pilot import Pilot

from engine.catalog.table import TableName
from engine.errors import Failure, Side
from screens.checks import ChecksScreen
from screens.connect import ConnectScreen
from screens.cutover import CutoverScreen
from screens.done import DoneScreen
from screens.identity import IdentityScreen
from screens.live import LiveScreen
from screens.migration import Step
from screens.postsync import PostsyncScreen
from screens.publication import PublicationScreen
from screens.review import ReviewScreen
from screens.rights import RightsScreen
from screens.roles import RolesScreen
from screens.schema import SchemaScreen
from screens.start import StartScreen
from screens.tables import TablesScreen
from screens.user import UserScreen
from tests.screens.fake_services import (
    FakeServices,
    copying_snapshot,
    ready_snapshot,
    server_summary,
    shop_migration,
)
from tests.screens.fakes.schema import FakeSchema, shop_schema
from tests.screens.scenario import WizardForTests, paste, play, press, shown


async def _type(pilot: Pilot[Any], text: str) -> None:
    names = {":": "colon", "/": "slash", "@": "at", ".": "full_stop", "_": "underscore", "-": "minus"}
    await pilot.press(*(names.get(character, character) for character in text))


def test_a_whole_migration_can_be_walked_by_keys() -> None:
    schema = FakeSchema(shop_schema(), missing=(TableName("public", "customers"),))
    services = FakeServices(schema=schema)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert isinstance(app.step, ConnectScreen)
        await paste(pilot, "postgresql://mover:hunter2@db1/shop")
        await press(pilot, "enter")
        await paste(pilot, "postgresql://admin:hunter2@tiger/tsdb")
        assert "hunter2" not in shown(app)
        # The first Next tests both, the second goes on.
        await press(pilot, "ctrl+n")
        assert "Ready for Checks" in shown(app)
        assert "run checks" not in services.calls
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, ChecksScreen)
        assert "6 checks: 1 warning, 5 ok" in shown(app)
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, UserScreen)
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, TablesScreen)
        assert "6 of 7 tables chosen" in shown(app)
        await press(pilot, "n")
        assert "no table is chosen" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, TablesScreen)
        await press(pilot, "a", "ctrl+n")

        assert isinstance(app.step, RolesScreen)
        services.scripts.after_run = services.roles.settle
        await press(pilot, "x", "right", "enter")
        assert [name for name, _ in services.scripts.ran] == ["roles.sql"]
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, SchemaScreen)
        assert "missing on the target" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, SchemaScreen)
        await press(pilot, "shift+tab", "enter", "right", "enter")
        assert schema.calls == ["all at once"]
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, IdentityScreen)
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, PublicationScreen)
        assert "1 statement to run" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, PublicationScreen)
        await press(pilot, "x", "right", "enter")
        assert services.publication.applied == 1
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, RightsScreen)
        await press(pilot, "x", "right", "enter")
        assert [name for name, _ in services.scripts.ran][2:] == ["privileges.sql", "db_settings.sql"]
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, ReviewScreen)
        assert "Nothing has been copied so far" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, ReviewScreen)
        assert "start engine" not in services.calls
        await press(pilot, "tab", "enter")

        live = app.step
        assert isinstance(live, LiveScreen)
        assert services.calls.count("start engine") == 1
        assert services.migration.started_at is not None
        await press(pilot, "ctrl+n")
        assert app.step is live
        services.next_engine.current = ready_snapshot()
        live.poll()
        await press(pilot, "ctrl+n")

        assert isinstance(app.step, PostsyncScreen)
        await press(pilot, "shift+tab", "enter")
        assert services.postsync.runs == [None]
        assert "4 of 4 items done" in shown(app)
        await press(pilot, "ctrl+n")

        cutover = app.step
        assert isinstance(cutover, CutoverScreen)
        services.clock += timedelta(seconds=10)
        cutover.poll()
        await press(pilot, "enter")
        # The safe answer has the focus.
        await press(pilot, "enter")
        assert services.migration.cutover.writers_stopped_at is None
        await press(pilot, "enter", "right", "enter")
        cutover.poll()
        assert services.cutover.calls == ["fence", "copy sequences"]
        assert services.calls.count("compare") == 1
        await press(pilot, "enter")
        await _type(pilot, "tsdx")
        await press(pilot, "enter")
        assert "You typed “tsdx”" in shown(app)
        assert "stop engine" not in services.calls
        await press(pilot, "backspace")
        await _type(pilot, "b")
        await press(pilot, "enter")

        assert isinstance(app.step, DoneScreen)
        assert services.calls.count("stop engine") == 1
        assert "6 tables, 94,352,200 rows: 0 differences" in services.files["report.md"]
        await press(pilot, "d")
        await _type(pilot, "shop")
        await press(pilot, "enter")
        assert services.cleanup.runs == 1
        assert services.migration.dropped_at is not None

    play(walk, services)


def test_resuming_a_started_migration_asks_for_the_password_and_goes_live() -> None:
    services = FakeServices(saved=(shop_migration(Step.LIVE),))
    services.probes[Side.TARGET] = Failure("The target refused the password", sqlstate="28P01")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert isinstance(app.step, StartScreen)
        await press(pilot, "enter")
        assert "Password of the target" in shown(app)
        await _type(pilot, "hunter2")
        assert "hunter2" not in shown(app)
        await press(pilot, "enter")
        assert isinstance(app.step, LiveScreen)
        assert services.calls == ["resume 20261121-023000-abcdef", "password of the target", "start engine"]

    play(walk, services)


def test_a_migration_that_was_not_started_goes_on_at_its_step() -> None:
    services = FakeServices(saved=(shop_migration(Step.PUBLICATION),))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, PublicationScreen)
        assert "start engine" not in services.calls

    play(walk, services)


def test_a_saved_migration_is_forgotten_only_after_its_name_is_typed() -> None:
    services = FakeServices(saved=(shop_migration(Step.TABLES),))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "d", "escape")
        assert services.saved
        await press(pilot, "d")
        await _type(pilot, "shop")
        await press(pilot, "enter")
        assert not services.saved
        assert "No migration was begun on this machine yet" in shown(app)

    play(walk, services)


def test_a_step_that_was_reached_can_be_gone_to() -> None:
    services = FakeServices(migration=shop_migration(Step.SCHEMA))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "g")
        assert "Publication: not reached yet" in shown(app)
        await press(pilot, "up", "up", "enter")
        assert isinstance(app.step, TablesScreen)
        assert services.migration.furthest_step is Step.SCHEMA
        # Steps that were not reached cannot be marked.
        await press(pilot, "g", "end", "enter")
        assert isinstance(app.step, SchemaScreen)

    play(walk, services, Step.SCHEMA)


def test_answers_are_closed_once_replication_has_started() -> None:
    services = FakeServices(migration=shop_migration(Step.LIVE))
    services.engine = services.next_engine

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "g")
        assert "Tables: closed, replication has started" in shown(app)
        await press(pilot, "home", "enter")
        assert isinstance(app.step, RolesScreen)

    play(walk, services, Step.LIVE)


def test_leaving_says_what_the_source_keeps_and_keeps_looking_by_default() -> None:
    services = FakeServices(migration=shop_migration(Step.LIVE))
    services.engine = services.next_engine

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        services.next_engine.current = copying_snapshot()
        await press(pilot, "q")
        assert "live_sync_shop (250 MB" in shown(app)
        await press(pilot, "enter")
        assert app.is_running
        assert "Leave livesync-tui?" not in shown(app)
        await press(pilot, "ctrl+q", "tab", "enter")
        assert not app.is_running or app._exit

    play(walk, services, Step.LIVE)


def test_an_engine_that_failed_before_it_listed_tables_leads_back_to_review() -> None:
    services = FakeServices(migration=shop_migration(Step.LIVE))
    services.engine = services.next_engine

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        from dataclasses import replace

        from engine.snapshot import Phase

        failure = Failure("The publication livesync_shop does not exist", hint="Create it", side=Side.SOURCE)
        services.next_engine.current = replace(
            copying_snapshot(), tables=(), phase=Phase.FAILED, failure=failure
        )
        live = app.step
        assert isinstance(live, LiveScreen)
        live.poll()
        await press(pilot, "ctrl+o")
        assert isinstance(app.step, ReviewScreen)
        assert services.migration.started_at is None

    play(walk, services, Step.LIVE)


def test_a_connection_that_fails_is_said_with_the_server_s_words() -> None:
    said = 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "mover"'
    services = FakeServices(strings={side: "postgres://x" for side in Side})
    services.probes[Side.SOURCE] = Failure("The source does not let this host in", said, "Add this host")
    services.probes[Side.TARGET] = server_summary(Side.TARGET)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "enter")
        assert "the source cannot be used" in shown(app) or "does not let this host in" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, ConnectScreen)
        await press(pilot, "e")
        assert said in " ".join(shown(app).replace("│", " ").split()).replace("FATAL: no", "FATAL:  no")

    play(walk, services)
