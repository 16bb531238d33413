"""The README's tour: drives the wizard over the demo's two servers and keeps a picture of each step.

    python -m livesync_tui.demo.tour docs/tour

Every picture shows what the wizard drew of real servers at that moment; nothing is painted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual import events
from textual.pilot import Pilot

from livesync_tui import output
from livesync_tui.app import MigrationApp, build_app
from livesync_tui.demo.command import SUBSCRIPTION, DemoServers, demo_servers
from livesync_tui.demo.dataset import create_demo
from livesync_tui.demo.writer import DemoWriter
from screens.migration import Step
from screens.wizard import WizardScreen

_SIZE = (110, 32)
_ROWS = 300_000
_TRANSACTIONS_PER_SECOND = 100
_PATIENCE_SECONDS = 120.0

PICTURES = (
    "connect",
    "checks",
    "user",
    "tables",
    "roles",
    "schema",
    "identity",
    "publication",
    "rights",
    "review",
    "live",
    "post-sync",
    "cutover",
    "done",
)
"""Names of the pictures, without ``.svg``, in the order of the tour."""


class Tour:
    """One walk through the wizard."""

    def __init__(self, pilot: Pilot[Any], servers: DemoServers, folder: Path) -> None:
        assert isinstance(pilot.app, MigrationApp)
        self._pilot = pilot
        self._app = pilot.app
        self._servers = servers
        self._folder = folder

    @property
    def _step(self) -> WizardScreen:
        return next(screen for screen in reversed(self._app.screen_stack) if isinstance(screen, WizardScreen))

    async def walk(self, stop_writers: Callable[[], None]) -> None:
        """From Connect to Done, each with its picture."""
        await self._until(lambda: self._step.STEP is Step.CONNECT, "Connect")
        for conninfo in (self._servers.source_conninfo, self._servers.target_conninfo):
            assert self._app.focused is not None
            self._app.focused.post_message(events.Paste(conninfo))
            await self._pilot.pause()
            await self._pilot.press("enter")
        await self._settled()
        await self._pilot.press("ctrl+n")
        await self._settled()
        self._picture("connect")
        for step in (Step.CHECKS, Step.USER, Step.TABLES, Step.ROLES):
            await self._next(step)
            self._picture(step.value)
        await self._next(Step.SCHEMA)
        self._picture("schema")
        await self._confirmed("x")
        await self._next(Step.IDENTITY)
        self._picture("identity")
        await self._confirmed("x")
        await self._next(Step.PUBLICATION)
        self._picture("publication")
        await self._confirmed("x")
        for step in (Step.RIGHTS, Step.REVIEW):
            await self._next(step)
            self._picture(step.value)
        await self._pilot.press("tab", "enter")
        await self._until(lambda: self._step.STEP is Step.LIVE, "Live")
        await self._until(lambda: "COPYING" in self._shown(), "the copy")
        self._picture("live")
        await self._until(lambda: self._step.next_blocked() is None, "every table to be synchronized")
        await self._next(Step.POSTSYNC)
        self._picture("post-sync")
        await self._next(Step.CUTOVER)
        await self._until(lambda: "Not yet" in self._shown() or "writers" in self._shown(), "the gates")
        stop_writers()
        await self._until(lambda: "[ The writers are stopped ]" in self._shown(), "a look at the writers")
        await self._pilot.press("enter")
        await self._until(lambda: "Not yet" in self._shown(), "the question about the writers")
        await self._pilot.press("right", "enter")
        await self._until(lambda: "[ Cross the line ]" in self._shown(), "the gates to pass")
        self._picture("cutover")
        await self._pilot.press("enter")
        await self._until(lambda: "to confirm" in self._shown(), "the question for the name")
        assert self._app.focused is not None
        self._app.focused.post_message(events.Paste(self._app.services.migration.target_database))
        await self._pilot.press("enter")
        await self._until(lambda: self._step.STEP is Step.DONE, "Done")
        await self._settled()
        self._picture("done")

    def _shown(self) -> str:
        strips = self._app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"waited for {what}:\n{self._shown()}")
            await self._pilot.pause(0.05)

    async def _settled(self) -> None:
        await self._until(lambda: not self._step.jobs.names, "the step's work")
        await self._pilot.pause(0.2)

    async def _next(self, step: Step) -> None:
        await self._until(lambda: self._step.next_blocked() is None, f"the way to {step.title}")
        await self._pilot.press("ctrl+n")
        await self._until(lambda: self._step.STEP is step, step.title)
        await self._settled()

    async def _confirmed(self, key: str) -> None:
        await self._pilot.press(key)
        # Some steps read their script again before they ask.
        await self._settled()
        await self._pilot.press("right", "enter")
        await self._settled()

    def _picture(self, name: str) -> None:
        self._app.save_screenshot(f"{name}.svg", str(self._folder))


async def _record(servers: DemoServers, folder: Path, writer: DemoWriter) -> None:
    app = build_app(subscription=SUBSCRIPTION, folder=servers.directory / "migrations")
    async with app.run_test(size=_SIZE) as pilot:
        await Tour(pilot, servers, folder).walk(writer.stop)
    app.finish()


def main() -> int:
    """Record the tour into the folder that is named; the exit code."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with demo_servers(keep=False) as servers:
        create_demo(servers.source_conninfo, rows=_ROWS)
        writer = DemoWriter(servers.source_conninfo, transactions_per_second=_TRANSACTIONS_PER_SECOND)
        writer.start()
        try:
            asyncio.run(_record(servers, folder, writer))
        finally:
            writer.stop()
    output.line(f"{len(PICTURES)} pictures in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
