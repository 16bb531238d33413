"""The Connect step by keys: fields, stages that come too late, which side is meant."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from engine.checks.finding import Verdict, by_hand, trouble
from engine.connection.stage import Stage, StageDone
from engine.errors import Failure, Retry, Side
from screens.connect import ConnectScreen
from screens.migration import Step
from tests.screens.fake_services import FakeServices, passed_stages
from tests.screens.scenario import WizardForTests, paste, play, press, shown

_STRINGS = {side: "postgres://x" for side in Side}
_STANDBY = trouble(
    "standby",
    Side.TARGET,
    Verdict.BLOCKS,
    "a standby",
    "Nothing can be written",
    remedy=by_hand("Use the primary"),
)


def test_f2_opens_the_side_that_has_the_focus_or_failed() -> None:
    services = FakeServices(strings=dict(_STRINGS))
    services.probes[Side.TARGET] = Failure("The target does not answer", retry=Retry.TIMED)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "f2")
        assert "The source's connection, field by field" in shown(app)
        await press(pilot, "escape", "tab", "f2")
        assert "The target's connection, field by field" in shown(app)
        await press(pilot, "escape", "shift+tab", "ctrl+n", "e")
        assert "Nothing happens until you try again" in shown(app)
        await press(pilot, "escape", "f2")
        assert "The target's connection, field by field" in shown(app)

    play(walk, services, Step.CONNECT)


def test_a_refused_address_keeps_next_off_until_it_is_changed() -> None:
    services = FakeServices(strings=dict(_STRINGS), refused=(_STANDBY,))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "ctrl+n")
        assert "✗ The target cannot be used: it is a standby" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, ConnectScreen)
        assert services.calls == ["look who answers"]
        await press(pilot, "e")
        assert "Use the primary" in shown(app)
        assert "Trying again cannot help before this is changed" in shown(app)
        services.refused = ()
        await press(pilot, "escape", "t")
        assert "Ready for" in shown(app)
        assert "cannot be used" not in shown(app)

    play(walk, services, Step.CONNECT)


def test_a_look_that_fails_is_said_and_can_be_tried_again() -> None:
    services = FakeServices(strings=dict(_STRINGS))
    services.refused = Failure(
        "The target ended our session", "terminating connection", "Wait", side=Side.TARGET
    )

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "ctrl+n")
        assert "✗ The target ended our session" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, ConnectScreen)
        services.refused = ()
        await press(pilot, "t")
        assert "Ready for" in shown(app)

    play(walk, services, Step.CONNECT)


def test_fields_that_are_left_change_nothing_and_empty_ones_are_not_taken() -> None:
    services = FakeServices(strings={})

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "f2", "enter")
        assert "All fields are empty" in shown(app)
        await paste(pilot, "postgres.example")
        await press(pilot, "escape")
        assert app.step.query_one("#source-uri", Input).value == ""
        await press(pilot, "f2")
        await paste(pilot, " postgres.example ")
        await press(pilot, "enter")
        assert app.step.query_one("#source-uri", Input).value == "host='postgres.example'"

    play(walk, services, Step.CONNECT)


def test_what_would_move_the_cursor_is_not_let_into_a_field() -> None:
    services = FakeServices(strings={}, fields={"dbname": "one\x1b[2Jtwo"})

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "f2")
        assert "one" not in shown(app)
        await paste(pilot, "evil\x1b[31m\u202e")
        assert "\x1b" not in shown(app)
        assert "\u202e" not in shown(app)
        assert app.screen.query_one("#field-host", Input).value == ""
        assert app.screen.query_one("#field-dbname", Input).value == "one\x1b[2Jtwo"

    play(walk, services, Step.CONNECT)


def test_a_stage_of_an_earlier_test_is_not_shown() -> None:
    services = FakeServices(strings=dict(_STRINGS))
    services.stages = {side: passed_stages(side)[:1] for side in Side}
    services.probes = {side: Failure("No", "", "") for side in Side}

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "t")
        assert isinstance(app.step, ConnectScreen)
        earlier = app.step._test_number
        await press(pilot, "t")
        app.step._tell_stage(Side.SOURCE, earlier, StageDone(Stage.TCP, 7.7, "of an earlier test"))
        await press(pilot, "tab")
        assert "of an earlier test" not in shown(app)
        assert shown(app).count("✓ DNS") == 2
        assert shown(app).count("✗ TCP") == 2

    play(walk, services, Step.CONNECT)
