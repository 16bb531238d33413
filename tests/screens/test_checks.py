"""The Checks step: what blocks, what is applied, what is followed, and whose servers these are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.checks.finding import Verdict, ok, trouble
from engine.checks.report import ServerStart
from engine.errors import Failure, Retry, Side
from engine.providers.fix import Fix
from screens.checks import ChecksScreen
from screens.connect import ConnectScreen
from screens.migration import Step
from screens.restart_watch import RestartWatch, restarted_words, watch_for
from screens.user import UserScreen
from tests.screens.fake_services import (
    MONOTONIC_SECONDS,
    NO_ROOM_BLOCKS,
    PARAMETER_GROUP_BLOCKS,
    STARTED_AT,
    WAL_LEVEL_BLOCKS,
    FakeServices,
    check_report,
    good_findings,
    shop_migration,
)
from tests.screens.scenario import WizardForTests, paste, play, press, settle, shown

_GONE = Failure("Nothing answers at the address of the source", "connection refused", retry=Retry.TIMED)
_WAL_LEVEL_IS_GOOD = ok("wal_level", Side.SOURCE, "logical")


@pytest.fixture(autouse=True)
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked for by a timer; a test calls ``poll`` itself."""
    monkeypatch.setattr("screens.wizard.TICK_SECONDS", 3600.0)


def _services(*findings: Any, **given: Any) -> FakeServices:
    return FakeServices(migration=shop_migration(Step.CHECKS), report=check_report(*findings), **given)


def _checks(app: WizardForTests) -> ChecksScreen:
    assert isinstance(app.step, ChecksScreen)
    return app.step


def test_what_blocks_is_on_top_and_keeps_next_off() -> None:
    services = _services(*good_findings(), WAL_LEVEL_BLOCKS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        text = shown(app)
        assert "1 blocks, 1 warning" in text
        assert "Next is off: wal_level on the source blocks" in text
        assert "alter system set wal_level = 'logical';" in text
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, ChecksScreen)
        services.report = check_report(*good_findings())
        await press(pilot, "r", "ctrl+n")
        assert isinstance(app.step, UserScreen)

    play(walk, services, Step.CHECKS)


def test_all_that_block_are_counted_and_the_first_is_named() -> None:
    services = _services(PARAMETER_GROUP_BLOCKS, WAL_LEVEL_BLOCKS, NO_ROOM_BLOCKS)

    async def walk(_pilot: Pilot[Any], app: WizardForTests) -> None:
        assert _checks(app).next_blocked() == "3 checks block, first max_replication_slots on the source"

    play(walk, services, Step.CHECKS)


def test_warnings_and_what_could_not_be_checked_do_not_hold_up() -> None:
    unknown = trouble("slot_trial", Side.SOURCE, Verdict.UNKNOWN, "not tried", "why", remedy=Fix("again"))
    services = _services(*good_findings(), unknown)

    async def walk(_pilot: Pilot[Any], app: WizardForTests) -> None:
        assert _checks(app).next_blocked() is None
        assert "Ready for User" in shown(app)

    play(walk, services, Step.CHECKS)


def test_the_exact_statements_are_shown_and_only_run_when_confirmed() -> None:
    services = _services(*good_findings(), WAL_LEVEL_BLOCKS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x")
        assert "Run 1 statement for wal_level?" in shown(app)
        assert "alter system set wal_level = 'logical';" in shown(app)
        # The safe answer has the focus.
        await press(pilot, "enter")
        assert services.calls == ["run checks"]
        await press(pilot, "x", "right", "enter")
        assert services.calls == [
            "run checks",
            "fix the source: alter system set wal_level = 'logical'",
            "run checks",
        ]

    play(walk, services, Step.CHECKS)


def test_after_a_fix_the_checks_run_by_themselves_and_the_next_finding_is_marked() -> None:
    statement = "alter role mover set wal_sender_timeout = '60000'"
    services = _services(*good_findings())
    services.after_fix = check_report(*good_findings()[1:], ok("wal_sender_timeout", Side.SOURCE, "60 s"))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x", "right", "enter")
        text = shown(app)
        assert "6 checks: 6 ok" in text
        assert f"✓ wal_sender_timeout on the source: ran {statement}"[:70] in text
        assert _checks(app).next_blocked() is None

    play(walk, services, Step.CHECKS)


def test_a_fix_that_is_refused_is_said_with_the_server_s_words() -> None:
    services = _services(WAL_LEVEL_BLOCKS, refuses="permission denied to set parameter")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x", "right", "enter")
        assert "The source refused the fix for wal_level" in shown(app)
        await press(pilot, "e")
        assert "permission denied to set parameter" in " ".join(shown(app).replace("│", " ").split())
        await press(pilot, "escape", "enter")
        assert "✗ alter system set wal_level = 'logical';" in shown(app)

    play(walk, services, Step.CHECKS, size=(120, 40))


@pytest.mark.parametrize("finding", [PARAMETER_GROUP_BLOCKS, NO_ROOM_BLOCKS], ids=lambda each: each.check)
def test_what_sql_cannot_fix_is_not_applied(finding: Any) -> None:
    services = _services(finding)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "x")
        assert len(app.screen_stack) == 2
        assert services.calls == ["run checks"]

    play(walk, services, Step.CHECKS)


def test_statements_that_this_role_may_not_run_are_copied_not_applied() -> None:
    fix = Fix(sql=("alter role mover with replication",), applicable=False)
    services = _services(trouble("replication", Side.SOURCE, Verdict.BLOCKS, "no", "why", remedy=fix))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "This role may not run it" in shown(app)
        await press(pilot, "x")
        assert services.calls == ["run checks"]
        await press(pilot, "y")
        assert services.files["fix.txt"] == "alter role mover with replication;"

    play(walk, services, Step.CHECKS)


def test_a_restart_is_followed_until_the_new_value_is_there() -> None:
    services = _services(*good_findings()[3:], WAL_LEVEL_BLOCKS)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        checks = _checks(app)
        assert "Source: restart needed once set: wal_level" in shown(app)
        await press(pilot, "x", "right", "enter")
        assert "Source: restart needed for wal_level" in shown(app)

        async def look(outcome: ServerStart | Failure) -> str:
            services.starts = [outcome]
            checks.poll()
            await settle(pilot)
            return shown(app)

        ran = services.calls.count("run checks")
        assert "restart needed for wal_level" in await look(ServerStart(STARTED_AT, ("wal_level",)))
        assert "Source: restarting? Nothing answers" in await look(_GONE)
        assert services.calls.count("run checks") == ran
        # It came back, but with the old value.
        later = STARTED_AT + timedelta(days=1)
        services.report = replace(services.report, source=replace(services.report.source, started_at=later))
        assert "restarted, but wal_level is still replica" in await look(ServerStart(later, ()))
        assert "restart needed once set: wal_level" in shown(app)
        # And then with the new one.
        last = later + timedelta(minutes=5)
        good = check_report(*good_findings())
        services.report = replace(good, source=replace(good.source, started_at=last))
        text = await look(ServerStart(last, ()))
        assert "✓ The source was restarted: wal_level is logical" in text
        assert "restart needed" not in text
        assert "Ready for User" in text
        assert services.calls.count("run checks") == ran + 2
        calls = list(services.calls)
        checks.poll()
        await settle(pilot)
        assert services.calls == calls

    play(walk, services, Step.CHECKS)


def test_a_look_that_is_out_does_not_hold_up_next() -> None:
    fix = Fix(sql=("alter system set max_wal_senders = 20",), applicable=True, needs_restart=True)
    slow = trouble("walsenders", Side.SOURCE, Verdict.WARNING, "4", "why", remedy=fix)
    services = _services(slow)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        checks = _checks(app)
        checks.poll()
        assert checks.jobs.names
        assert checks.check_action("next", ()) is True
        await settle(pilot)

    play(walk, services, Step.CHECKS)


def test_a_restart_is_looked_for_every_few_seconds() -> None:
    watch = watch_for(Side.SOURCE, (WAL_LEVEL_BLOCKS, PARAMETER_GROUP_BLOCKS), None)
    assert watch is not None
    assert watch.is_due(MONOTONIC_SECONDS)
    looked = watch.looked(ServerStart(STARTED_AT, ()), MONOTONIC_SECONDS)
    assert not looked.is_due(MONOTONIC_SECONDS + 4)
    assert looked.is_due(MONOTONIC_SECONDS + 5)
    assert looked.awaited == ("wal_level", "max_replication_slots")
    pending = looked.looked(ServerStart(STARTED_AT, ("max_replication_slots",)), MONOTONIC_SECONDS)
    assert pending.awaited == ("max_replication_slots",)
    assert pending.words(MONOTONIC_SECONDS + 3) == (
        "Source: restart needed for max_replication_slots; looked 3 s ago"
    )
    assert watch_for(Side.TARGET, (WAL_LEVEL_BLOCKS, NO_ROOM_BLOCKS), None) is None
    assert watch_for(Side.SOURCE, (_WAL_LEVEL_IS_GOOD,), pending) is None
    many = RestartWatch(Side.SOURCE, (WAL_LEVEL_BLOCKS,) * 3)
    assert many.words(0) == "Source: restart needed once set: 3 settings"


def test_what_a_restart_has_changed_is_said() -> None:
    words, is_all = restarted_words(Side.SOURCE, ["wal_level"], (_WAL_LEVEL_IS_GOOD,))
    assert (words, is_all) == ("✓ The source was restarted: wal_level is logical", True)
    words, is_all = restarted_words(Side.SOURCE, ["wal_level"], (WAL_LEVEL_BLOCKS,))
    assert (words, is_all) == ("! The source was restarted, but wal_level is still replica", False)


def test_a_provider_that_a_person_names_is_remembered_and_the_checks_run_for_it() -> None:
    services = _services(*good_findings())

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Source  Amazon RDS for PostgreSQL: host shop.c9akciq32" in shown(app)
        await press(pilot, "p")
        assert "as found out: Amazon RDS" in shown(app)
        await press(pilot, "escape")
        assert services.calls == ["run checks"]
        report = check_report(*good_findings())
        services.report = replace(report, target=replace(report.target, named="Neon"))
        await press(pilot, "p", "tab", "down", "down", "down", "enter")
        assert services.migration.target_provider == "neon"
        assert services.migration.source_provider == ""
        assert services.calls == ["run checks", "run checks"]
        assert "Target  Neon, named by you (found out: Tiger Cloud)" in shown(app)
        await press(pilot, "p", "tab")
        assert "● Neon" in shown(app)
        await press(pilot, "home", "enter")
        assert services.migration.target_provider == ""

    play(walk, services, Step.CHECKS)


def test_all_the_evidence_can_be_read() -> None:
    services = _services(*good_findings())

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "rds.extensions and 19 more" not in shown(app)
        await press(pilot, "v")
        assert "settings rds.extensions and 19 more" in shown(app)
        assert "role tsdbadmin" in shown(app)

    play(walk, services, Step.CHECKS)


def test_a_named_provider_does_not_count_for_another_server() -> None:
    migration = shop_migration(Step.CHECKS, source_provider="rds", target_provider="neon")
    migration = replace(migration, source_conninfo="host=source dbname=shop")
    services = FakeServices(migration=migration, strings={side: "postgres://x" for side in Side})

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "ctrl+o")
        assert isinstance(app.step, ConnectScreen)
        await press(pilot, "ctrl+n", "ctrl+n")
        assert isinstance(app.step, ChecksScreen)
        assert services.migration.source_provider == "rds"
        assert services.migration.target_provider == ""

    play(walk, services, Step.CHECKS)


def test_checks_that_cannot_run_keep_next_off_and_say_why() -> None:
    services = FakeServices(migration=shop_migration(Step.CHECKS), report=_GONE)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "connection refused" in shown(app)
        assert _checks(app).next_blocked() is not None
        services.report = check_report(*good_findings())
        await press(pilot, "r")
        assert "Ready for User" in shown(app)
        services.report = _GONE
        await press(pilot, "r", "ctrl+n")
        # What was found before is still there to be read, and counts no longer.
        assert "6 checks" in shown(app)
        assert isinstance(app.step, ChecksScreen)

    play(walk, services, Step.CHECKS)


def test_everything_found_is_written_to_a_file() -> None:
    services = _services(*good_findings(), PARAMETER_GROUP_BLOCKS)

    async def walk(pilot: Pilot[Any], _app: WizardForTests) -> None:
        await press(pilot, "w")
        text = services.files["checks.txt"]
        for words in ("aws rds modify-db-parameter-group", "wal_level on the source: ok", "role tsdbadmin"):
            assert words in text

    play(walk, services, Step.CHECKS)


def test_the_first_connection_is_pasted_and_leads_to_the_checks() -> None:
    services = FakeServices()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await paste(pilot, "postgresql://mover:hunter2@db1/shop")
        await press(pilot, "enter")
        await paste(pilot, "postgresql://admin:hunter2@tiger/tsdb")
        # Once both were tested, enter is Next.
        await press(pilot, "enter", "enter", "enter")
        assert isinstance(app.step, ChecksScreen)
        assert "hunter2" not in shown(app)

    play(walk, services)
