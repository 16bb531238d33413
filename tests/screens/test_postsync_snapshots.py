"""What the step Post-sync looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event as Signal
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.errors import Failure, Retry, Side
from engine.postsync.checklist import Checklist, ChecklistItem, Progress, Task
from screens.migration import Step
from screens.postsync import PostsyncScreen
from tests.screens.drawn import NASTY, Size, SnapCompare, at, hold_still, sizes, then
from tests.screens.fakes.postsync import checklist
from tests.screens.scenario import WizardForTests, settle, shown

_DO_ALL = ("shift+tab", "enter")


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves."""
    hold_still(monkeypatch)


@pytest.fixture
def gate() -> Iterator[Signal]:
    """What holds a run; opened at the end whatever happens."""
    signal = Signal()
    yield signal
    signal.set()


def running(gate: Signal) -> WizardForTests:
    """The step whose run stays at its first item."""
    app = at(Step.POSTSYNC)
    app.fake.postsync.waits_for = gate
    return app


async def begin(pilot: Pilot[Any]) -> None:
    """Start all, and wait until it is seen to run."""
    await settle(pilot)
    app = pilot.app
    assert isinstance(app, WizardForTests)
    await pilot.press(*_DO_ALL)
    while "● running" not in shown(app):
        await pilot.pause(0.02)
        step = app.step
        assert isinstance(step, PostsyncScreen)
        step.poll()


@sizes
def test_postsync_empty(snap_compare: SnapCompare, size: Size) -> None:
    """Nothing needs anything."""
    app = at(Step.POSTSYNC)
    app.fake.postsync.planned = Checklist(())
    assert snap_compare(app, terminal_size=size, run_before=then())


@sizes
def test_postsync(snap_compare: SnapCompare, size: Size) -> None:
    """Three to do, one there."""
    assert snap_compare(at(Step.POSTSYNC), terminal_size=size, run_before=then())


@sizes
def test_postsync_running(snap_compare: SnapCompare, size: Size, gate: Signal) -> None:
    """The first runs, the others wait."""
    assert snap_compare(running(gate), terminal_size=size, run_before=begin)


def test_postsync_asks_before_it_is_left_while_it_runs(snap_compare: SnapCompare, gate: Signal) -> None:
    """What becomes of it; going on has the focus."""

    async def leave(pilot: Pilot[Any]) -> None:
        await begin(pilot)
        await pilot.press("ctrl+o")
        await pilot.pause()

    assert snap_compare(running(gate), run_before=leave)


@sizes
def test_postsync_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Many, with names that would draw over everything, each in another state."""
    app = at(Step.POSTSYNC)
    failure = Failure(NASTY, NASTY, NASTY, "23503", Side.TARGET)
    items = tuple(
        ChecklistItem(
            number,
            list(Task)[number % 3],
            f"{number} {NASTY}",
            f"{number} {NASTY}",
            number,
            number << 40,
            progress=(Progress.FAILED, *Progress)[number % 6],
            seconds=98765.0 * number,
            failure=failure if number % 6 in (0, 5) else None,
        )
        for number in range(40)
    )
    app.fake.postsync.planned = Checklist(items)
    assert snap_compare(app, terminal_size=size, run_before=then())


@sizes
def test_postsync_failed(snap_compare: SnapCompare, size: Size) -> None:
    """A constraint that does not hold; the others were done."""
    app = at(Step.POSTSYNC)
    app.fake.postsync.failures[0] = Failure(
        "orders_customer_fkey on public.orders could not be validated",
        'insert or update on table "orders" violates foreign key constraint "orders_customer_fkey"',
        "Look at the rows it names",
        "23503",
        Side.TARGET,
    )
    assert snap_compare(app, terminal_size=size, run_before=then(*_DO_ALL))


def test_postsync_that_could_not_be_read(snap_compare: SnapCompare) -> None:
    """The server's words are behind e."""
    app = at(Step.POSTSYNC)
    app.fake.postsync.planned = Failure(
        "Nothing answers at the address of the target",
        "Connection refused",
        retry=Retry.TIMED,
        side=Side.TARGET,
    )
    assert snap_compare(app, run_before=then())


def test_postsync_in_a_dry_run(snap_compare: SnapCompare) -> None:
    """What would run."""
    assert snap_compare(at(Step.POSTSYNC, dry_run=True), run_before=then())


def test_postsync_done(snap_compare: SnapCompare) -> None:
    """All of it, with times."""
    app = at(Step.POSTSYNC)
    items = (replace(item, progress=Progress.DONE, seconds=75.0) for item in checklist().items)
    app.fake.postsync.planned = Checklist(tuple(items))
    assert snap_compare(app, run_before=then())
