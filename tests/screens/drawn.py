"""What pictures of a step are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.errors import Side
from screens import wizard
from screens.migration import Step
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

NASTY = "w[/]x [red]y[/red] \x1b[31m\x1b[2J\u202e語言\r\nנ " + "x" * 63
"""What would draw over everything."""


def hold_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def at(step: Step, **given: Any) -> WizardForTests:
    """The wizard at a step of the shop's migration."""
    strings = {Side.SOURCE: "postgres://mover:x@db1.internal/shop", Side.TARGET: "postgres://a:b@tiger/tsdb"}
    services = FakeServices(**{"migration": shop_migration(step), "strings": strings, **given})
    return WizardForTests(services, step)


def then(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Wait for the step, then press keys, each with time for what it starts."""

    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    return run
