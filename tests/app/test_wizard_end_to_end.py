"""The real wizard over two real servers under live writes, by keys alone, from connection strings to done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from livesync_tui.app import MigrationApp, build_app
from livesync_tui.demo.dataset import create_demo
from livesync_tui.demo.writer import DemoWriter
from screens.migration import Step
from screens.wizard import WizardScreen
from tests.conftest import Database
from tests.faults.migrating import assert_all_equal
from tests.screens.scenario import shown

_STEP_SECONDS = 60.0


def step_of(app: MigrationApp) -> WizardScreen:
    """The step that is shown, under whatever lies on it."""
    return next(screen for screen in reversed(app.screen_stack) if isinstance(screen, WizardScreen))


async def until(pilot: Pilot[Any], condition: Callable[[], bool], what: str) -> None:
    """Let the application run until ``condition`` holds."""
    app = pilot.app
    assert isinstance(app, MigrationApp)
    deadline = time.monotonic() + _STEP_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited for: {what}\n{shown(app)}"
        await pilot.pause(0.05)


async def press_until(
    pilot: Pilot[Any], keys: tuple[str, ...], condition: Callable[[], bool], what: str
) -> None:
    """Wait for the step's jobs, press ``keys``, and wait for ``condition``."""
    app = pilot.app
    assert isinstance(app, MigrationApp)
    await until(pilot, lambda: not step_of(app).jobs.names, f"the jobs before {keys}")
    for key in keys:
        await pilot.press(key)
    await until(pilot, condition, what)


async def paste(pilot: Pilot[Any], text: str) -> None:
    """Paste into what has the focus, as a terminal does."""
    assert pilot.app.focused is not None
    pilot.app.focused.post_message(events.Paste(text))
    await pilot.pause()


async def type_text(pilot: Pilot[Any], text: str) -> None:
    """Type into what has the focus, key by key."""
    await pilot.press(*("underscore" if character == "_" else character for character in text))


async def migrate(pilot: Pilot[Any], source: Database, target: Database, stop: Callable[[], None]) -> None:
    """From Connect to Done."""
    app = pilot.app
    assert isinstance(app, MigrationApp)

    def at(step: Step) -> Callable[[], bool]:
        return lambda: step_of(app).STEP is step

    def reads(words: str) -> Callable[[], bool]:
        return lambda: words in " ".join(shown(app).split())

    async def pass_by(step: Step) -> None:
        await press_until(pilot, ("ctrl+n",), at(step), step.title)
        await until(pilot, lambda: next_is_open(app), f"{step.title} to have looked")

    await until(pilot, at(Step.CONNECT), "Connect")
    await paste(pilot, source.conninfo)
    await pilot.press("enter")
    await paste(pilot, target.conninfo)
    await press_until(pilot, ("ctrl+n",), reads("Ready for Checks"), "both connections")
    await press_until(pilot, ("ctrl+n",), at(Step.CHECKS), "Checks")
    await until(pilot, reads("Ready for User"), "the checks")
    await pass_by(Step.USER)
    await press_until(pilot, ("ctrl+n",), at(Step.TABLES), "Tables")
    await until(pilot, reads("11 of 11 tables chosen"), "the table list")
    await pass_by(Step.ROLES)
    await press_until(pilot, ("ctrl+n",), at(Step.SCHEMA), "Schema")
    await until(pilot, reads("statements, pg_dump"), "the comparison")
    await press_until(pilot, ("shift+tab", "enter"), reads("Make everything?"), "the question")
    await press_until(pilot, ("right", "enter"), lambda: at_least_applied(app), "the schema applied")
    await pass_by(Step.IDENTITY)
    await press_until(pilot, ("x",), reads("Run it?"), "the question")
    await press_until(pilot, ("right", "enter"), reads("Nothing to do on the source"), "the identities")
    await press_until(pilot, ("ctrl+n",), at(Step.PUBLICATION), "Publication")
    await until(pilot, reads("to run"), "the plan")
    await press_until(pilot, ("x",), reads("Run it?"), "the question")
    await press_until(pilot, ("right", "enter"), reads("The source publishes the"), "the publication")
    await pass_by(Step.RIGHTS)
    await press_until(pilot, ("ctrl+n",), at(Step.REVIEW), "Review")
    await press_until(pilot, ("tab", "enter"), at(Step.LIVE), "Live")
    await until(pilot, lambda: next_is_open(app), "every table to be synchronized")
    await pass_by(Step.POSTSYNC)
    await press_until(pilot, ("ctrl+n",), at(Step.CUTOVER), "Cutover")
    stop()
    await until(pilot, reads("[ The writers are stopped ]"), "the gates before the writers")
    await press_until(pilot, ("enter", "right", "enter"), reads("no difference"), "the gates to pass")
    await press_until(pilot, ("enter",), reads("Type"), "the question for the name")
    await type_text(pilot, target.name)
    await press_until(pilot, ("enter",), at(Step.DONE), "Done")
    await until(pilot, reads("Written to"), "the report")


def next_is_open(app: MigrationApp) -> bool:
    """Whether the step says nothing against Next."""
    step = step_of(app)
    return not step.jobs.names and step.next_blocked() is None


def at_least_applied(app: MigrationApp) -> bool:
    """Whether the schema step lets go on."""
    return next_is_open(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_from_connection_strings_to_cutover_done(
    size: tuple[int, int], source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    create_demo(source_db.conninfo, rows=20_000)
    writer = DemoWriter(source_db.conninfo, transactions_per_second=200)
    writer.start()
    app = build_app(subscription="night", folder=tmp_path)
    log: list[str] = []

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await migrate(pilot, source_db, target_db, writer.stop)
        log.append(app.finish())

    try:
        asyncio.run(run())
    finally:
        writer.stop()
    assert writer.failure is None
    assert writer.transactions_committed > 100
    assert_all_equal(source_db, target_db)
    secrets = [source_db.conninfo.split("@", 1)[0].rsplit(":", 1)[1], target_db.conninfo.split("@")[0][-32:]]
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] + log
    assert any("night" in text for text in written)
    for secret in secrets:
        assert not any(secret in text for text in written)
