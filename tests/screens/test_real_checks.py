"""The Checks step with its real services: a fix is applied to a real server, whose restart is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from livesync_tui.app import MigrationApp, build_app
from livesync_tui.demo.servers import EmbeddedServer
from livesync_tui.saved import SavedMigrations
from screens.checks import ChecksScreen
from screens.wizard import WizardScreen
from tests.conftest import Database
from tests.screens.scenario import shown

_SECONDS = 60.0


@pytest.fixture
def plain_server(server_base: Path) -> Iterator[EmbeddedServer]:
    """PostgreSQL 16 as it is installed: not made for logical replication."""
    server = EmbeddedServer.create(16, server_base / "plain", settings={"wal_level": "replica"})
    server.start()
    yield server
    server.stop("immediate")


def test_a_fix_is_applied_and_the_restart_it_needs_is_followed(
    plain_server: EmbeddedServer, target_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screens.restart_watch.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("screens.wizard.TICK_SECONDS", 0.2)
    app = build_app(source=plain_server.conninfo(), target=target_db.conninfo, folder=tmp_path)

    async def until(pilot: Pilot[Any], words: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SECONDS
        while words not in shown(app):
            assert loop.time() < deadline, f"waited for: {words}\n{shown(app)}"
            await pilot.pause(0.05)

    async def run() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("ctrl+n")
            await until(pilot, "Ready for Checks")
            await pilot.press("ctrl+n")
            await until(pilot, "Next is off: wal_level on the source blocks")
            await until(pilot, "restart needed once set: wal_level")
            await pilot.press("x")
            await until(pilot, "Run 1 statement for wal_level?")
            await pilot.press("right", "enter")
            await until(pilot, "restart needed for wal_level")
            await until(pilot, "Next is off: wal_level on the source blocks")
            plain_server.stop()
            await until(pilot, "Source: restarting?")
            assert _is_at_checks(app)
            await asyncio.to_thread(plain_server.start)
            await until(pilot, "The source was restarted: wal_level is logical")
            await until(pilot, "Ready for User")
            await _name_provider(pilot, until)

    asyncio.run(run())
    (saved,), _ = SavedMigrations(tmp_path).read_all()
    assert (saved.source_provider, saved.target_provider) == ("", "aiven")


def _is_at_checks(app: MigrationApp) -> bool:
    return isinstance(next(each for each in app.screen_stack if isinstance(each, WizardScreen)), ChecksScreen)


async def _name_provider(pilot: Pilot[Any], until: Callable[..., Any]) -> None:
    await pilot.press("p")
    await until(pilot, "Whose servers are these?")
    await pilot.press("tab", "down", "down", "enter")
    await until(pilot, "Target  Aiven")
    await until(pilot, "Ready for User")
