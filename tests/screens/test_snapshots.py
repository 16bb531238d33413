"""What each step looks like, at the size it is made for and at a roomy one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from threading import Event as Signal
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.checks.finding import Verdict, trouble
from engine.errors import Failure, Retry, Side
from engine.providers.fix import Fix
from engine.snapshot import CopyTotal, Event, Phase, Severity, TableState
from livesync_tui.theme import NIGHT, SIXTEEN_COLOURS
from screens import wizard
from screens.migration import Step
from tests.screens.fake_services import (
    MONOTONIC_SECONDS,
    NO_ROOM_BLOCKS,
    NOW,
    PARAMETER_GROUP_BLOCKS,
    WAL_LEVEL_BLOCKS,
    FakeEngine,
    FakeServices,
    check_report,
    copying_snapshot,
    finished_migration,
    good_findings,
    hostile_tables,
    progress,
    ready_snapshot,
    shop_migration,
    snapshot,
)
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle, shown

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

_STRINGS = {Side.SOURCE: "postgres://mover:x@db1.internal/shop", Side.TARGET: "postgres://a:b@tiger/tsdb"}

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def _then(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Wait for the step, then press keys, each with time for what it starts."""

    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    return run


def _at(step: Step, theme: str = NIGHT.name, **given: Any) -> WizardForTests:
    migration = finished_migration() if step is Step.DONE else shop_migration(step)
    services = FakeServices(**{"migration": migration, "strings": dict(_STRINGS), **given})
    return WizardForTests(services, step, theme)


def _live(current: Any, theme: str = NIGHT.name, **given: Any) -> WizardForTests:
    return _at(Step.LIVE, theme, engine=FakeEngine(current, **given))


@sizes
def test_start(snap_compare: SnapCompare, size: Size) -> None:
    """Three saved migrations: one running, one done, one at its schema."""
    saved = (
        shop_migration(Step.LIVE),
        replace(finished_migration(), id="b", name="billing", source_name="billing on db2.internal"),
        replace(shop_migration(Step.SCHEMA), id="c", name="crm", updated_at=NOW - timedelta(days=3)),
    )
    assert snap_compare(_at(Step.START, saved=saved), terminal_size=size, run_before=_then())


def test_start_when_nothing_can_be_read(snap_compare: SnapCompare) -> None:
    """A saved migration of a newer version."""
    unreadable = (Failure("/home/me/.local/state/livesync-tui/x cannot be read", "It is newer", "Update"),)
    assert snap_compare(_at(Step.START, unreadable=unreadable), run_before=_then())


@sizes
def test_checks(snap_compare: SnapCompare, size: Size) -> None:
    """A warning that SQL can mend; Next is on."""
    assert snap_compare(_at(Step.CHECKS), terminal_size=size, run_before=_then())


@sizes
def test_checks_while_they_run(snap_compare: SnapCompare, size: Size) -> None:
    """Nothing is known yet."""
    end = Signal()
    app = _at(Step.CHECKS, checks_wait_for=end)

    async def until_said(pilot: Pilot[Any]) -> None:
        while "running the checks" not in shown(app):
            await pilot.pause(0.02)

    try:
        assert snap_compare(app, terminal_size=size, run_before=until_said)
    finally:
        end.set()


@sizes
def test_checks_that_block(snap_compare: SnapCompare, size: Size) -> None:
    """Three that block, one of which SQL can fix; restarts are waited for."""
    blocking = (WAL_LEVEL_BLOCKS, PARAMETER_GROUP_BLOCKS, NO_ROOM_BLOCKS)
    app = _at(Step.CHECKS, report=check_report(*blocking, *good_findings()[:2]))
    assert snap_compare(app, terminal_size=size, run_before=_then())


def test_checks_fixed_by_the_console(snap_compare: SnapCompare) -> None:
    """Where to click, what to run, how to restart."""
    app = _at(Step.CHECKS, report=check_report(PARAMETER_GROUP_BLOCKS, *good_findings()))
    assert snap_compare(app, run_before=_then())


@sizes
def test_checks_at_their_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Many that block, with names and messages that would draw over everything."""
    nasty = "w[/]x [red]y[/red] \x1b[31m\x1b[2J\u202e語言\r\nנ " + "x" * 63
    fix = Fix(nasty, (f'grant select on "{nasty}" to "{nasty}"',), False, nasty, nasty, True, nasty)
    findings = [
        trouble(f"check_{number}", side, Verdict.BLOCKS, nasty, nasty, remedy=fix)
        for number in range(12)
        for side in Side
    ]
    report = check_report(*findings)
    server = replace(report.source, detected=nasty, evidence=(nasty,), named=nasty)
    report = replace(report, source=server, target=replace(server, side=Side.TARGET, named=""))
    assert snap_compare(_at(Step.CHECKS, report=report), terminal_size=size, run_before=_then())


@sizes
def test_checks_that_could_not_run(snap_compare: SnapCompare, size: Size) -> None:
    """The server's words, and how to go on."""
    failure = Failure(
        "Nothing answers at the address of the source",
        'connection to server at "db1.internal", port 5432 failed: Connection refused',
        "Check host and port, and that the server runs and listens there",
        retry=Retry.TIMED,
    )
    assert snap_compare(_at(Step.CHECKS, report=failure), terminal_size=size, run_before=_then())


def test_checks_ask_before_a_fix(snap_compare: SnapCompare) -> None:
    """The exact statement, as whom and where; the safe answer has the focus."""
    app = _at(Step.CHECKS, report=check_report(WAL_LEVEL_BLOCKS))
    assert snap_compare(app, run_before=_then("x"))


def test_checks_after_a_fix_that_needs_a_restart(snap_compare: SnapCompare) -> None:
    """What ran, and what is waited for."""
    app = _at(Step.CHECKS, report=check_report(WAL_LEVEL_BLOCKS, *good_findings()))
    assert snap_compare(app, run_before=_then("x", "right", "enter"))


def test_checks_whose_fix_was_refused(snap_compare: SnapCompare) -> None:
    """The refusal on the gate line, the server's words at the finding."""
    app = _at(Step.CHECKS, report=check_report(WAL_LEVEL_BLOCKS), refuses="permission denied")
    assert snap_compare(app, run_before=_then("x", "right", "enter"))


def test_checks_ask_whose_servers(snap_compare: SnapCompare) -> None:
    """Both sides beside each other."""
    assert snap_compare(_at(Step.CHECKS), run_before=_then("p"))


@sizes
def test_review(snap_compare: SnapCompare, size: Size) -> None:
    """The three lists; Start does not have the focus."""
    assert snap_compare(_at(Step.REVIEW), terminal_size=size, run_before=_then())


@sizes
def test_live(snap_compare: SnapCompare, size: Size) -> None:
    """A table in every state."""
    assert snap_compare(_live(copying_snapshot()), terminal_size=size, run_before=_then())


def test_live_ready(snap_compare: SnapCompare) -> None:
    """Everything follows the source."""
    assert snap_compare(_live(ready_snapshot()), run_before=_then())


def test_live_before_the_first_snapshot(snap_compare: SnapCompare) -> None:
    """An engine that has not reported."""
    assert snap_compare(_live(None, happened=()), run_before=_then())


def _worst() -> Any:
    states = (
        TableState.DATASYNC,
        TableState.INIT,
        TableState.READY,
        TableState.SYNCDONE,
        TableState.FINISHEDCOPY,
    )
    tables = [progress(table, states[index % len(states)]) for index, table in enumerate(hostile_tables())]
    tables[0] = replace(
        tables[0], last_error='duplicate key value violates unique constraint "w[/]x_pkey" (SQLSTATE 23505)'
    )
    tables[3] = replace(tables[3], last_error='column "a[b]c" of relation "quo\\"ted" does not exist')
    total = CopyTotal(rows=12, size_bytes=3456, percent=None, exceeds_estimate=True, rate=None)
    return snapshot(tuple(tables), lag=None, changes_per_second=None, copy_total=total, source_flush_lsn=None)


@sizes
def test_live_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Hostile names, tables set aside, nothing known about the lag."""
    events = (
        Event(1, NOW, Severity.ERROR, 'public."w[/]x" was set aside: duplicate key\nDETAIL: [red]x[/red]'),
        Event(2, NOW, Severity.WARNING, "語言 " * 40),
    )
    assert snap_compare(_live(_worst(), happened=events), terminal_size=size, run_before=_then())


def test_live_retrying(snap_compare: SnapCompare) -> None:
    """A lost connection with its countdown and hint."""
    failure = Failure(
        "The connection to the target was lost while applying",
        "server closed the connection unexpectedly",
        "Nothing to do if the server or the network comes back",
        retry=Retry.TIMED,
        side=Side.TARGET,
    )
    current = replace(
        ready_snapshot(),
        phase=Phase.RETRYING,
        failure=failure,
        retry_at_monotonic_seconds=MONOTONIC_SECONDS + 8,
    )
    assert snap_compare(_live(current), run_before=_then())


@sizes
def test_live_waiting(snap_compare: SnapCompare, size: Size) -> None:
    """A lock that somebody holds on the target."""
    words = (
        "a lock on public.orders on the target that pid 4711 holds "
        "(report, nightly [b]sums[/b], in a transaction open for 75 s)"
    )
    current = replace(ready_snapshot(), waiting_for=words)
    assert snap_compare(_live(current), terminal_size=size, run_before=_then())


def test_live_silent(snap_compare: SnapCompare) -> None:
    """An engine that stopped reporting."""
    current = replace(ready_snapshot(), taken_monotonic_seconds=MONOTONIC_SECONDS - 14)
    assert snap_compare(_live(current), run_before=_then())


def test_live_frozen_display(snap_compare: SnapCompare) -> None:
    """The display stands still, the engine runs on."""
    assert snap_compare(_live(copying_snapshot()), run_before=_then("space"))


def test_live_table_details(snap_compare: SnapCompare) -> None:
    """Everything about one table."""
    assert snap_compare(_live(copying_snapshot()), run_before=_then("enter"))


@pytest.mark.parametrize(
    "step", [Step.CONNECT, Step.CHECKS, Step.LIVE, Step.CUTOVER], ids=lambda step: step.value
)
def test_sixteen_colours(snap_compare: SnapCompare, step: Step) -> None:
    """The terminal's own colours."""
    is_before = step.number < Step.LIVE.number
    engine = None if is_before else FakeEngine(_worst() if step is Step.LIVE else ready_snapshot())
    keys = ("enter",) if step is Step.CONNECT else ()
    assert snap_compare(_at(step, SIXTEEN_COLOURS, engine=engine), run_before=_then(*keys))


@pytest.mark.parametrize("step", [Step.CHECKS, Step.LIVE, Step.CUTOVER], ids=lambda step: step.value)
def test_no_colour(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    """With NO_COLOR, focus is reverse and states are words."""
    monkeypatch.setenv("NO_COLOR", "1")
    is_before = step.number < Step.LIVE.number
    engine = None if is_before else FakeEngine(_worst() if step is Step.LIVE else ready_snapshot())
    assert snap_compare(_at(step, engine=engine), run_before=_then())


def test_leaving_live(snap_compare: SnapCompare) -> None:
    """What the source keeps meanwhile; the safe answer has the focus."""
    assert snap_compare(_live(copying_snapshot()), run_before=_then("q"))


def test_help(snap_compare: SnapCompare) -> None:
    """What the step does and all its keys."""
    assert snap_compare(_at(Step.TABLES), run_before=_then("f1"))


def test_error_details(snap_compare: SnapCompare) -> None:
    """What happened, what was said, what to do, what happens next."""
    failure = Failure(
        "The publication livesync_shop does not exist",
        'publication "livesync_shop" does not exist',
        "Create it, or go back and apply the plan",
        "42704",
        Side.SOURCE,
    )
    app = _live(replace(copying_snapshot(), tables=(), phase=Phase.FAILED, failure=failure))
    assert snap_compare(app, run_before=_then("e"))


def test_password(snap_compare: SnapCompare) -> None:
    """The password of a resumed migration."""
    app = _at(Step.START, saved=(shop_migration(Step.LIVE),))
    app.fake.probes[Side.SOURCE] = Failure(
        "The source asks for a password and none is known", sqlstate="28P01"
    )
    assert snap_compare(app, run_before=_then("enter"))
