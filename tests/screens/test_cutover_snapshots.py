"""Cutover and Done: empty, as usual, at their worst and failed, in a small and in a roomy terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.cutover.outcome import (
    ReadOnlyOffer,
    ReadOnlyRecord,
    RowDifference,
    SequenceOutcome,
    SourceSession,
    TableComparison,
    WriteActivity,
)
from engine.errors import Failure, Side
from engine.snapshot import Phase
from screens import wizard
from screens.cutover import CutoverScreen
from screens.migration import CutoverRecord, Step
from tests.screens.fake_services import (
    NOW,
    FakeEngine,
    FakeServices,
    finished_migration,
    ready_snapshot,
    shop_migration,
)
from tests.screens.fakes.cutover import FENCE_SEEN, FakeCutover
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle, shown

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

_NASTY = "w[/]x [red]y[/red] \x1b[31m\x1b[2J\u202e語言\r\nנ " + "x" * 63

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def _then(*keys: str) -> Callable[[Pilot[Any]], Any]:
    """Wait until the lag was small for long enough, then press keys."""

    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        app = cast(WizardForTests, pilot.app)
        if isinstance(app.step, CutoverScreen):
            app.fake.clock += timedelta(seconds=7)
            app.step.poll()
            app.step._look()
            app.step._look_for_leftovers()
            await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        # A wizard that has crashed is an empty picture.
        assert shown(app).strip()

    return run


_STOPPED = ("enter", "right", "enter")


def _at(step: Step, cutover: FakeCutover | None = None, **given: Any) -> WizardForTests:
    migration = finished_migration() if step is Step.DONE else shop_migration(step)
    services = FakeServices(
        **{
            "migration": migration,
            "cutover": cutover or FakeCutover(),
            "engine": FakeEngine(ready_snapshot()),
            **given,
        }
    )
    return WizardForTests(services, step)


@sizes
def test_cutover_empty(snap_compare: SnapCompare, size: Size) -> None:
    """An engine that has not reported, servers that have not answered."""
    app = _at(Step.CUTOVER, engine=FakeEngine(None))
    assert snap_compare(app, terminal_size=size, run_before=_then())


@sizes
def test_cutover_as_usual(snap_compare: SnapCompare, size: Size) -> None:
    """Waits for the person to stop the writers; one warning."""
    activity = WriteActivity(NOW, "2A/5B0F1D20", ("pid 4711 app@shop: UPDATE orders …",), 181)
    fake = FakeCutover(
        activities=[activity] * 9,
        can_stop_writers=True,
        left=("Post-sync: 1 not done (public.sales_by_day)",),
    )
    assert snap_compare(_at(Step.CUTOVER, fake), terminal_size=size, run_before=_then())


@sizes
def test_cutover_before_the_line(snap_compare: SnapCompare, size: Size) -> None:
    """All gates passed."""
    assert snap_compare(_at(Step.CUTOVER), terminal_size=size, run_before=_then(*_STOPPED))


@sizes
def test_cutover_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Every gate says the longest and nastiest there is, long ago."""
    first, *others = ready_snapshot().tables
    broken = replace(first, source_name=_NASTY, last_error=_NASTY)
    current = replace(
        ready_snapshot(),
        tables=(broken, *others),
        phase=Phase.FAILED,
        failure=Failure(_NASTY),
        objects_failed=7,
        lag=None,
    )
    migration = shop_migration(
        Step.CUTOVER,
        source_name=_NASTY,
        target_name=_NASTY,
        cutover=CutoverRecord(writers_stopped_at=NOW - timedelta(hours=30)),
        read_only=(ReadOnlyRecord(_NASTY, _NASTY, None),),
    )
    fake = FakeCutover(
        activities=[WriteActivity(NOW, "0/1", (_NASTY,), 3, (_NASTY,), 9)] * 9,
        left=(_NASTY, _NASTY),
        not_writable=_NASTY,
        fence=Failure(_NASTY),
        sequences=(SequenceOutcome(_NASTY, _NASTY, None, False, _NASTY),),
    )
    app = _at(Step.CUTOVER, fake, engine=FakeEngine(current), migration=migration)
    assert snap_compare(app, terminal_size=size, run_before=_then())


@sizes
def test_cutover_failed(snap_compare: SnapCompare, size: Size) -> None:
    """Somebody wrote after the fence."""
    app = _at(Step.CUTOVER)

    async def until_written(pilot: Pilot[Any]) -> None:
        await _then(*_STOPPED)(pilot)
        assert app.fake.engine is not None
        app.fake.engine.current = replace(ready_snapshot(), fences=(replace(FENCE_SEEN, changes_after=3),))
        cast(CutoverScreen, app.step).poll()
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=until_written)


def test_cutover_with_differences(snap_compare: SnapCompare) -> None:
    """The comparison found something."""
    found = TableComparison(
        "public.orders", "public.orders", 9, 8, False, (RowDifference(Side.SOURCE, "(9,lost)"),)
    )
    app = _at(Step.CUTOVER, comparisons=(found,))
    assert snap_compare(app, run_before=_then(*_STOPPED))


@sizes
def test_cutover_rehearsed(snap_compare: SnapCompare, size: Size) -> None:
    """What the outage would be, and what was measured."""
    assert snap_compare(_at(Step.CUTOVER), terminal_size=size, run_before=_then("tab", "enter"))


@sizes
def test_cutover_asks_about_read_only(snap_compare: SnapCompare, size: Size) -> None:
    """Whom it reaches and whom it does not; the safe answer has the focus."""
    assert snap_compare(_at(Step.CUTOVER), terminal_size=size, run_before=_then("o"))


def test_cutover_asks_about_read_only_at_its_worst(snap_compare: SnapCompare) -> None:
    """Many sessions and nasty roles."""
    offer = ReadOnlyOffer(
        ReadOnlyRecord(_NASTY, "", None),
        tuple(ReadOnlyRecord("shop", f"{_NASTY}{number}", None) for number in range(9)),
        tuple(SourceSession(number, NOW, _NASTY, f"pid {number} · {_NASTY}") for number in range(40)),
    )
    assert snap_compare(_at(Step.CUTOVER, FakeCutover(offer=offer)), run_before=_then("o"))


def test_cutover_with_a_source_that_is_read_only(snap_compare: SnapCompare) -> None:
    """The setting is told beside the clock."""
    record = ReadOnlyRecord("shop", "", None)
    app = _at(Step.CUTOVER, migration=shop_migration(Step.CUTOVER, read_only=(record,)))
    assert snap_compare(app, run_before=_then())


@sizes
def test_cutover_asks_for_the_name(snap_compare: SnapCompare, size: Size) -> None:
    """The typed name at the line, and what is accepted by it."""
    fake = FakeCutover(left=("Post-sync: 1 not done (public.sales_by_day)",))
    keys = (*_STOPPED, "enter", "t", "s", "enter")
    assert snap_compare(_at(Step.CUTOVER, fake), terminal_size=size, run_before=_then(*keys))


@sizes
def test_done_as_usual(snap_compare: SnapCompare, size: Size) -> None:
    """The report."""
    assert snap_compare(_at(Step.DONE), terminal_size=size, run_before=_then())


@sizes
def test_done_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Nasty names in the report, a source that was left read-only."""
    migration = replace(
        finished_migration(),
        name=_NASTY,
        source_name=_NASTY,
        target_name=_NASTY,
        publication=_NASTY,
        read_only=(ReadOnlyRecord(_NASTY, _NASTY, None),),
    )
    fake = FakeCutover(left_out=(_NASTY,), changes=(_NASTY,))
    app = _at(Step.DONE, fake, migration=migration)
    assert snap_compare(app, terminal_size=size, run_before=_then("end"))
