"""The step Post-sync by its keys, and what becomes of its work when it is left."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event as Signal
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.script.planned import ScriptStatement
from screens.cutover import CutoverScreen
from screens.live import LiveScreen
from screens.migration import Step
from screens.postsync import PostsyncScreen
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.scenario import WizardForTests, play, press, settle, shown


@pytest.fixture
def gate() -> Iterator[Signal]:
    """What holds a run; opened at the end whatever happens."""
    signal = Signal()
    yield signal
    signal.set()


def _services(gate: Signal | None = None) -> FakeServices:
    services = FakeServices(migration=shop_migration(Step.POSTSYNC))
    services.engine = services.next_engine
    services.postsync.waits_for = gate
    return services


async def _begin(pilot: Pilot[Any], app: WizardForTests) -> None:
    await pilot.press("shift+tab", "enter")
    while "● running" not in shown(app):
        await pilot.pause(0.02)
        step = app.step
        assert isinstance(step, PostsyncScreen)
        step.poll()


def test_the_statements_are_a_file_too() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        script = services.scripts.scripts["post_sync.sql"]
        assert [one.sql for one in script.statements] == [
            "alter table public.orders validate constraint orders_customer_fkey",
            "analyze public.orders",
            "refresh materialized view public.sales_by_day",
        ]

    play(walk, services, Step.POSTSYNC)


def test_one_item_is_done_by_itself_again_too() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "down", "x")
        assert services.postsync.runs == [(2,)]
        assert "2 of 4 items done" not in shown(app)
        await press(pilot, "up", "x", "x")
        assert services.postsync.runs == [(2,), (1,), (1,)]
        assert "2 of 4 items done" in shown(app)

    play(walk, services, Step.POSTSYNC)


@pytest.mark.parametrize("keys", [("ctrl+o",), ("g", "up", "enter")])
def test_leaving_while_it_runs_asks_then_stops_then_goes(gate: Signal, keys: tuple[str, ...]) -> None:
    services = _services(gate)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _begin(pilot, app)
        await pilot.press(*keys)
        await pilot.pause()
        assert "Stop working the list off?" in shown(app)
        # The safe answer has the focus.
        await pilot.press("enter")
        await pilot.pause()
        assert services.postsync.stopped == 0
        assert isinstance(app.step, PostsyncScreen)
        await pilot.press(*keys)
        await pilot.pause()
        await pilot.press("right", "enter")
        await settle(pilot)
        assert services.postsync.stopped == 1
        assert isinstance(app.step, LiveScreen)

    play(walk, services, Step.POSTSYNC)


def test_quitting_while_it_runs_asks_and_stops_before_it_asks_about_leaving(gate: Signal) -> None:
    services = _services(gate)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _begin(pilot, app)
        await pilot.press("q")
        await pilot.pause()
        assert "Stop working the list off?" in shown(app)
        await pilot.press("right", "enter")
        await settle(pilot)
        assert services.postsync.stopped == 1
        assert "Leave livesync-tui?" in shown(app)

    play(walk, services, Step.POSTSYNC)


def test_a_terminal_that_goes_away_stops_it(gate: Signal) -> None:
    services = _services(gate)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _begin(pilot, app)
        app.leave_now()

    play(walk, services, Step.POSTSYNC)
    assert services.postsync.stopped >= 1


def test_next_is_off_while_it_runs_and_on_after_a_stop(gate: Signal) -> None:
    services = _services(gate)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _begin(pilot, app)
        await pilot.press("ctrl+n")
        await pilot.pause()
        assert isinstance(app.step, PostsyncScreen)
        await press(pilot, "s", "ctrl+n")
        assert services.postsync.stopped == 1
        assert isinstance(app.step, CutoverScreen)

    play(walk, services, Step.POSTSYNC)


def test_an_edited_script_is_what_the_button_runs() -> None:
    services = _services()
    edited = ScriptStatement("by hand", "analyze public.orders (id)")
    services.scripts.edited["post_sync.sql"] = (edited,)

    async def look(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "post_sync.sql was edited by you" in shown(app)
        await press(pilot, "shift+tab", "enter")
        assert services.scripts.ran == [("post_sync.sql", (edited.sql,))]
        assert services.postsync.runs == []
        assert "1 statement applied" in shown(app)
        # Without the edits the list counts again.
        await press(pilot, "tab", "d", "right", "enter")
        assert "post_sync.sql was edited by you" not in shown(app)
        await press(pilot, "shift+tab", "enter")
        assert services.postsync.runs == [None]

    play(look, services, Step.POSTSYNC)
