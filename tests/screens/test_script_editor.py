"""Editing a generated script: the editor changes a real file, and what is in it then counts."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.errors import Failure
from livesync_tui.migration_context import MigrationContext
from livesync_tui.saved import SavedMigrations
from livesync_tui.step_services.scripts import ScriptSteps
from screens.editing import run_editor
from screens.migration import Step
from screens.services import MigrationServices
from screens.step_services.scripts import ScriptServices
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.scenario import WizardForTests, play, press, shown

_EDITOR = """\
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text({text!r})
"""


@pytest.fixture(autouse=True)
def suspended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A terminal that can be left and taken again; the tests' own has none."""
    happened: list[str] = []

    @contextlib.contextmanager
    def suspend(_app: WizardForTests) -> Iterator[None]:
        happened.append("left")
        yield
        happened.append("back")

    monkeypatch.setattr(WizardForTests, "suspend", suspend)
    monkeypatch.delenv("VISUAL", raising=False)
    return happened


@pytest.fixture
def services(tmp_path: Path) -> FakeServices:
    """Roles are planned without servers; files are real."""
    services = FakeServices(migration=shop_migration(Step.ROLES))
    steps: ScriptServices = ScriptSteps(MigrationContext(SavedMigrations(tmp_path), "test"))
    services.scripts = steps  # type: ignore[assignment]
    return services


def _editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    program = tmp_path / "editor.py"
    program.write_text(_EDITOR.format(text=text))
    monkeypatch.setenv("EDITOR", f"{sys.executable} {program}")


def _file(services: MigrationServices) -> Path:
    file = services.scripts.read("roles.sql")
    assert not isinstance(file, Failure), file
    return file.path


def test_what_the_editor_wrote_is_listed_until_it_is_dropped(
    services: FakeServices, suspended: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _editor(monkeypatch, tmp_path, "-- by hand\ncreate role mine;\n")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        planned = _file(services).read_text()
        await press(pilot, "i")
        assert suspended == ["left", "back"]
        assert "d drops your edits" in shown(app)
        assert "by hand" in shown(app)
        assert "role reporting: made" not in shown(app)
        # Planning again and leaving out do not touch it.
        await press(pilot, "r", "space")
        assert "take it" in shown(app)
        assert _file(services).read_text() == "-- by hand\ncreate role mine;\n"
        await press(pilot, "d", "enter")
        assert "by hand" in shown(app)
        await press(pilot, "d", "right", "enter")
        assert "d drops your edits" not in shown(app)
        assert _file(services).read_text() == planned

    play(walk, services, Step.ROLES)


def test_an_edit_that_is_no_sql_is_said_and_can_be_mended_or_dropped(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _editor(monkeypatch, tmp_path, "create rle mine;\n")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "i")
        assert "roles.sql: Line 1 cannot be read as SQL" in shown(app)
        await press(pilot, "x")
        assert "Run it?" not in shown(app)
        _editor(monkeypatch, tmp_path, "-- mended\ncreate role mine;\n")
        await press(pilot, "i")
        assert "mended" in shown(app)

    play(walk, services, Step.ROLES)


def test_a_file_that_cannot_be_read_any_more_can_still_be_dropped(services: FakeServices) -> None:
    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        path = _file(services)
        path.write_bytes(b"\xff\xfe")
        await press(pilot, "r")
        assert "is not UTF-8" in shown(app)
        await press(pilot, "d", "right", "enter")
        assert "3 statements to run" in shown(app)
        assert "CREATE ROLE app" in path.read_text()

    play(walk, services, Step.ROLES)


def test_an_editor_that_is_not_there_leaves_the_wizard_as_it_was(
    services: FakeServices, suspended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "/nonexistent/editor")

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "i")
        assert "/nonexistent/editor could not be started" in shown(app)
        assert suspended == ["left", "back"]
        await press(pilot, "e")
        assert "No such file" in shown(app)
        await press(pilot, "escape", "ctrl+n")
        assert app.step.STEP is Step.SCHEMA

    play(walk, services, Step.ROLES)


def test_an_edit_outside_is_seen_before_anything_runs(services: FakeServices) -> None:
    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        path = _file(services)
        path.write_text("-- outside\ncreate role mine;\n")
        await press(pilot, "x")
        assert "roles.sql: 1 statement" in shown(app)
        await press(pilot, "escape")
        path.unlink()
        await press(pilot, "x")
        assert "No such file" in shown(app)
        assert "Run it?" not in shown(app)

    play(walk, services, Step.ROLES)


def test_an_interrupt_is_the_editor_s_own() -> None:
    before = signal.getsignal(signal.SIGINT)
    program = "import os, signal; os.kill(os.getppid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)"
    assert run_editor([sys.executable, "-c", program]) == ""
    assert signal.getsignal(signal.SIGINT) is before
    assert "No such file" in run_editor(["/nonexistent/editor"])
    assert signal.getsignal(signal.SIGINT) is before
