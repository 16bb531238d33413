"""Runs the wizard in memory, at a chosen step, with time standing still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual import events
from textual.pilot import Pilot

from livesync_tui.app import MigrationApp
from livesync_tui.theme import NIGHT
from screens.migration import Step
from screens.wizard import WizardScreen
from tests.screens.fake_services import FakeServices

SMALL = (80, 24)
LARGE = (120, 40)

_NEVER_SECONDS = 3600.0
"""Nothing is polled by a timer in a test; it calls ``poll`` itself."""

_MANY_ROUNDS = 400
_QUIET_ROUNDS = 2


class WizardForTests(MigrationApp):
    """The wizard, opened at the step a test is about."""

    def __init__(self, services: FakeServices, step: Step | None = None, theme: str = NIGHT.name) -> None:
        super().__init__(services, refresh_seconds=_NEVER_SECONDS, theme=theme)
        self.fake = services
        self._step = step

    def first_step(self) -> Step:
        return super().first_step() if self._step is None else self._step

    @property
    def step(self) -> WizardScreen:
        """The step that is shown, under whatever lies on it."""
        return next(screen for screen in reversed(self.screen_stack) if isinstance(screen, WizardScreen))


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until no job is out and nothing is left to draw."""
    app = pilot.app
    assert isinstance(app, WizardForTests)
    quiet_rounds = 0
    for _ in range(_MANY_ROUNDS):
        await pilot.pause()
        # A message may be on its way from a step to the application and back.
        quiet_rounds = 0 if app.step.jobs.names else quiet_rounds + 1
        if quiet_rounds == _QUIET_ROUNDS:
            return


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys one after another, each with time for what it starts."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


async def paste(pilot: Pilot[Any], text: str) -> None:
    """Paste text into what has the focus, as a terminal does."""
    assert pilot.app.focused is not None
    pilot.app.focused.post_message(events.Paste(text))
    await settle(pilot)


def shown_lines(app: MigrationApp) -> list[str]:
    """The screen as lines of text."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def shown(app: MigrationApp) -> str:
    """The screen as text."""
    return "\n".join(shown_lines(app))


Scenario = Callable[[Pilot[Any], WizardForTests], Awaitable[None]]


def play(
    scenario: Scenario,
    services: FakeServices,
    step: Step | None = None,
    size: tuple[int, int] = SMALL,
    theme: str = NIGHT.name,
) -> None:
    """Run the wizard and the scenario in it."""

    async def run() -> None:
        app = WizardForTests(services, step, theme)
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            await scenario(pilot, app)

    asyncio.run(run())
