"""The step User by keys: making the role, using it, its password, and taking it away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.checks.finding import Verdict
from engine.errors import Failure, Side
from screens.migration import Step
from screens.user import UserScreen
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.fakes.user import GOOD, REMOVAL, there
from tests.screens.scenario import LARGE, WizardForTests, paste, play, press, shown

_NO_LOGIN = (
    replace(
        GOOD[0],
        verdict=Verdict.BLOCKS,
        found='The source refused the password: password authentication failed for user "livesync_migrate"',
    ),
)


def _at_user(**migration: Any) -> FakeServices:
    return FakeServices(migration=shop_migration(Step.USER, **migration))


def _words(app: WizardForTests) -> str:
    return " ".join(shown(app).replace("│", " ").split())


def test_it_is_made_then_used_and_what_was_tried_is_listed() -> None:
    services = _at_user()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        # Not before it is there.
        await press(pilot, "k")
        assert services.user.calls == ["plan livesync_migrate"]
        await press(pilot, "x", "right", "enter")
        assert [name for name, _ in services.scripts.ran] == ["migration_user.sql"]
        assert "livesync_migrate is there; k uses it" in shown(app)
        await press(pilot, "k")
        assert services.user.calls[-1] == "use livesync_migrate"
        assert "sees all rows" in shown(app)
        await press(pilot, "o")
        assert "sees all rows" not in shown(app)
        await press(pilot, "ctrl+n")
        assert app.step.STEP is Step.TABLES

    play(walk, services, Step.USER)


def test_the_step_can_be_passed_over() -> None:
    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "ctrl+n")
        assert app.step.STEP is Step.TABLES

    play(walk, _at_user(), Step.USER)


def test_another_name_is_planned_before_it_is_made() -> None:
    services = _at_user()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        app.step.query_one("#role", Input).focus()
        await press(pilot, "end")
        await paste(pilot, "_2")
        app.step.query_one("#statements").focus()
        # What is listed is about the other name.
        await press(pilot, "x")
        assert services.scripts.ran == []
        app.step.query_one("#role", Input).focus()
        await press(pilot, "enter")
        assert services.user.calls[-1] == "plan livesync_migrate_2"

    play(walk, services, Step.USER)


def test_a_password_that_is_not_known_is_asked_for() -> None:
    services = _at_user()
    services.user.planned = there()
    services.user.findings = _NO_LOGIN

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "k")
        assert "password authentication failed" in _words(app)
        services.user.findings = GOOD
        await paste(pilot, "hunter2")
        assert "hunter2" not in shown(app)
        await press(pilot, "enter")
        assert services.user.calls[-1] == "use livesync_migrate with a password"
        assert "sees all rows" in shown(app)

    play(walk, services, Step.USER)


def test_what_keeps_the_role_from_its_work_is_said_with_the_fix() -> None:
    services = _at_user()
    services.user.planned = there()
    services.user.findings = (
        GOOD[0],
        replace(GOOD[1], verdict=Verdict.BLOCKS, found="must be replication role", why="Why", fix="Mend it"),
    )

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "k", "down")
        assert "livesync_migrate cannot do the migration's work" in shown(app)
        assert "Fix: Mend it" in shown(app)
        await press(pilot, "e")
        assert "must be replication role" in shown(app)

    play(walk, services, Step.USER)


def test_a_lost_password_is_set_anew_on_demand_only() -> None:
    services = _at_user()
    services.user.planned = there()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Nothing to do" in shown(app)
        await press(pilot, "n")
        assert services.user.calls[-1] == "plan livesync_migrate with a new password"
        # With a password that is not set yet nobody can log in.
        await press(pilot, "k")
        assert not any(call.startswith("use") for call in services.user.calls)
        await press(pilot, "x", "right", "enter", "k")
        assert services.user.calls[-2:] == ["plan livesync_migrate", "use livesync_migrate"]

    play(walk, services, Step.USER)


def test_the_password_is_shown_and_copied_only_when_asked_and_written_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = _at_user()
    services.user.planned, services.user.password = there(), "hunter2"
    copied: list[str] = []
    monkeypatch.setattr(WizardForTests, "copy_to_clipboard", lambda _, text: copied.append(text))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "p")
        assert "hunter2" not in shown(app)
        await press(pilot, "v")
        assert "db1.internal:5432:shop:livesync_migrate:hunter2" in shown(app)
        await press(pilot, "v")
        assert "hunter2" not in shown(app)
        await press(pilot, "y")
        assert copied == ["db1.internal:5432:shop:livesync_migrate:hunter2"]
        await press(pilot, "escape")
        assert "hunter2" not in shown(app)
        await press(pilot, "y")
        assert not any("hunter2" in text for text in services.files.values())

    play(walk, services, Step.USER)


def test_undo_shows_the_statements_and_runs_them_after_a_yes() -> None:
    services = _at_user()
    services.user.planned = there()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "u")
        assert "DROP ROLE livesync_migrate;" in shown(app)
        await press(pilot, "enter")
        assert "remove" not in services.user.calls
        await press(pilot, "u", "right", "enter")
        assert services.user.calls[-2:] == ["remove", "plan livesync_migrate"]

    play(walk, services, Step.USER)


def test_a_role_that_was_not_made_here_is_not_taken_away() -> None:
    services = _at_user()
    services.user.removal = Failure("This migration has made no role on the source", hint="It is not ours")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "u")
        assert "This migration has made no role on the source" in shown(app)
        services.user.removal = replace(REMOVAL, statements=())
        await press(pilot, "u")
        assert "There is nothing to undo" in shown(app)
        assert "remove" not in services.user.calls

    play(walk, services, Step.USER)


def test_the_first_role_s_password_is_asked_for_after_a_resume() -> None:
    services = _at_user(migration_user="livesync_migrate", first_source_conninfo="user=mover")
    services.user.planned = Failure("The source asks for a password and none is known", sqlstate="28P01")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "The role that makes and removes" in _words(app)
        services.user.planned = there()
        await paste(pilot, "hunter2")
        await press(pilot, "enter")
        assert services.user.calls[-2:] == ["password of the first role", "plan livesync_migrate"]
        assert "The source is used as livesync_migrate" in shown(app)

    play(walk, services, Step.USER)


def test_without_a_plan_the_wizard_goes_on_all_the_same() -> None:
    services = _at_user()
    services.user.planned = Failure("Nothing answers at the source", "Connection refused", side=Side.SOURCE)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Nothing answers at the source" in shown(app)
        await press(pilot, "x", "k", "n", "space", "ctrl+n")
        assert app.step.STEP is Step.TABLES

    play(walk, services, Step.USER)


def test_a_dry_run_neither_makes_nor_uses_the_role() -> None:
    services = _at_user()
    services.dry_run = True
    services.user.planned = there()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert isinstance(app.step, UserScreen)
        await press(pilot, "x", "k", "u")
        assert "This is a dry run" in _words(app)
        assert services.scripts.ran == []
        assert not any(call.startswith(("use", "remove")) for call in services.user.calls)

    play(walk, services, Step.USER, LARGE)


@pytest.mark.parametrize("step", [Step.TABLES, Step.LIVE])
def test_a_resumed_migration_says_how_a_lost_password_is_replaced(step: Step) -> None:
    services = FakeServices(saved=(shop_migration(step, migration_user="livesync_migrate"),))
    services.probes[Side.SOURCE] = Failure("The source refused the password", sqlstate="28P01")
    services.user.planned = there()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "enter")
        assert "kept nowhere but where you put it" in _words(app)
        assert ("at the step User" in _words(app)) is (step is Step.TABLES)
        await press(pilot, "escape")
        # That step works without it, but not once the answers are fixed.
        assert app.step.STEP is (Step.USER if step is Step.TABLES else Step.START)

    play(walk, services, Step.START)
