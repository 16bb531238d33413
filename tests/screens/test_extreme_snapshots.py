"""The steps Start, Review, Live and Done with nothing to show, with too much, and when something fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.catalog.table import TableName
from engine.errors import Failure, Retry, Side
from engine.snapshot import Phase
from screens import wizard
from screens.migration import SavedMigration, Step
from screens.step_services.host import RunningHost
from tests.screens.fake_services import (
    HOSTILE_NAMES,
    MONOTONIC_SECONDS,
    NOW,
    FakeEngine,
    FakeServices,
    copying_snapshot,
    finished_migration,
    ready_snapshot,
    shop_migration,
)
from tests.screens.scenario import LARGE, SMALL, WizardForTests, press, settle

SnapCompare = Callable[..., bool]
Size = tuple[int, int]
sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

_LONG = "quarterly[/]_\x1b[31mreport\u202e_" + "x" * 40
_GONE = Failure(
    "The source cannot be reached",
    'connection to server at "db1.internal", port 5432 failed: Connection refused',
    "Check that it runs and that this host may connect",
    side=Side.SOURCE,
    retry=Retry.TIMED,
)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def _then(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await press(pilot, *keys)

    return run


def _long_names(migration: SavedMigration) -> SavedMigration:
    return replace(
        migration,
        name=_LONG,
        source_name=f"{_LONG} on db-with-a-long-name.c9akciq32.eu-west-1.rds.amazonaws.com",
        target_name=f"{_LONG} on z3v9q1xk2m.a1b2c3d4e5.tsdb.cloud.timescale.com",
        publication="p" * 63,
        subscription="s" * 35,
        tables=tuple(TableName(f"schema {number}", _LONG) for number in range(3_000)),
    )


@sizes
def test_start_empty(snap_compare: SnapCompare, size: Size) -> None:
    """Nothing was begun on this machine."""
    assert snap_compare(WizardForTests(FakeServices(), Step.START), terminal_size=size, run_before=_then())


@sizes
def test_start_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Forty migrations with long and hostile names, one of them replicating now."""
    saved = tuple(
        replace(_long_names(shop_migration(Step.LIVE)), id=str(number), name=f"{number} {_LONG}")
        for number in range(40)
    )
    app = WizardForTests(FakeServices(saved=saved), Step.START)
    app.fake.host.hosts = (RunningHost(4_194_304, "shop", "0", NOW),)
    assert snap_compare(app, terminal_size=size, run_before=_then())


@sizes
def test_start_failed(snap_compare: SnapCompare, size: Size) -> None:
    """The marked migration's source is gone."""
    app = WizardForTests(FakeServices(saved=(shop_migration(Step.LIVE),)), Step.START)
    app.fake.probes[Side.SOURCE] = _GONE
    assert snap_compare(app, terminal_size=size, run_before=_then("enter"))


@sizes
def test_review_empty(snap_compare: SnapCompare, size: Size) -> None:
    """Neither a table nor a name for the subscription."""
    migration = replace(shop_migration(Step.REVIEW), tables=(), subscription="", publication="")
    app = WizardForTests(FakeServices(migration=migration), Step.REVIEW)
    assert snap_compare(app, terminal_size=size, run_before=_then())


@sizes
def test_review_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Three thousand tables under long and hostile names."""
    migration = replace(_long_names(shop_migration(Step.REVIEW)), builds_schema=True, sync_workers=64)
    app = WizardForTests(FakeServices(migration=migration), Step.REVIEW)
    assert snap_compare(app, terminal_size=size, run_before=_then())


@sizes
def test_review_failed(snap_compare: SnapCompare, size: Size) -> None:
    """The engine cannot be started."""
    failure = Failure(
        "The source has no free replication slot", "all replication slots are in use", "Drop one"
    )
    app = WizardForTests(
        FakeServices(migration=shop_migration(Step.REVIEW), start_failure=failure), Step.REVIEW
    )
    assert snap_compare(app, terminal_size=size, run_before=_then("tab", "enter"))


@sizes
def test_live_empty(snap_compare: SnapCompare, size: Size) -> None:
    """The engine has begun and listed no table yet."""
    empty = replace(
        copying_snapshot(),
        tables=(),
        phase=Phase.STARTING,
        lag=None,
        applied_lsn=None,
        source_flush_lsn=None,
        changes_per_second=None,
        sync_workers_busy=0,
        copy_total=replace(copying_snapshot().copy_total, rows=0, size_bytes=0, percent=None, rate=None),
    )
    services = FakeServices(migration=shop_migration(Step.LIVE), engine=FakeEngine(empty, ()))
    assert snap_compare(WizardForTests(services, Step.LIVE), terminal_size=size, run_before=_then())


@sizes
def test_live_failed(snap_compare: SnapCompare, size: Size) -> None:
    """A server is gone; the engine tries again."""
    failed = replace(
        copying_snapshot(),
        phase=Phase.RETRYING,
        failure=_GONE,
        retry_at_monotonic_seconds=MONOTONIC_SECONDS + 8,
    )
    services = FakeServices(migration=shop_migration(Step.LIVE), engine=FakeEngine(failed))
    assert snap_compare(WizardForTests(services, Step.LIVE), terminal_size=size, run_before=_then())


@sizes
def test_live_read_only(snap_compare: SnapCompare, size: Size) -> None:
    """Another viewer gives the orders."""
    services = FakeServices(migration=shop_migration(Step.LIVE), engine=FakeEngine(ready_snapshot()))
    services.host.read_only_because = "another livesync-tui (process 4711) gives the orders"
    app = WizardForTests(services, Step.LIVE)
    assert snap_compare(app, terminal_size=size, run_before=_then("p"))


@sizes
def test_done_empty(snap_compare: SnapCompare, size: Size) -> None:
    """Nothing was moved, and nothing is left to clean up."""
    migration = replace(finished_migration(), tables=(), dropped_at=NOW)
    app = WizardForTests(FakeServices(migration=migration), Step.DONE)
    assert snap_compare(app, terminal_size=size, run_before=_then())


@sizes
def test_done_failed(snap_compare: SnapCompare, size: Size) -> None:
    """The source is gone when it is to be cleaned up."""
    app = WizardForTests(FakeServices(migration=finished_migration()), Step.DONE)
    app.fake.cleanup.planned = _GONE
    assert snap_compare(app, terminal_size=size, run_before=_then("d"))


@sizes
def test_steps(snap_compare: SnapCompare, size: Size) -> None:
    """All steps, to go to one of them."""
    names = ", ".join(HOSTILE_NAMES)
    migration = replace(shop_migration(Step.SCHEMA), name=names)
    app = WizardForTests(FakeServices(migration=migration), Step.SCHEMA)
    assert snap_compare(app, terminal_size=size, run_before=_then("g"))
