"""The terminal around the wizard: what is refused, what a signal does, what a crash may say."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from livesync_tui.terminal import prepare, terminal_problem
from livesync_tui.theme import NIGHT, SIXTEEN_COLOURS, theme_name
from screens.migration import Step
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.scenario import WizardForTests, settle

_GOOD = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("environment", "is_a_tty", "encoding", "said"),
    [
        (_GOOD, False, "utf-8", "needs a terminal"),
        ({"TERM": "dumb"}, True, "utf-8", "TERM is dumb"),
        ({}, True, "utf-8", "TERM is not set"),
        (_GOOD, True, "iso-8859-1", "LC_ALL=C.UTF-8"),
        ({**_GOOD, "TEXTUAL_LOG": "/tmp/keys"}, True, "utf-8", "passwords too"),
    ],
)
def test_a_terminal_that_cannot_show_the_wizard_is_refused_with_a_way_out(
    environment: dict[str, str], is_a_tty: bool, encoding: str, said: str
) -> None:
    problem = terminal_problem(environment, is_a_tty=is_a_tty, encoding=encoding)
    assert problem is not None
    assert said in problem.sentence()
    assert problem.hint


def test_a_usual_terminal_is_accepted() -> None:
    assert terminal_problem(dict(_GOOD), is_a_tty=True, encoding="UTF-8") is None


def test_settings_are_set_but_not_over_the_person_s_own() -> None:
    environment = {"TEXTUAL_FPS": "5"}
    prepare(environment)
    assert environment["TEXTUAL_FPS"] == "5"
    assert environment["ESCDELAY"] == "300"
    assert environment["TEXTUAL_ANIMATIONS"] == "none"


@pytest.mark.parametrize(
    ("term", "colorterm", "theme"),
    [
        ("xterm-256color", "", NIGHT.name),
        ("xterm", "truecolor", NIGHT.name),
        ("linux", "", SIXTEEN_COLOURS),
        ("screen", "", SIXTEEN_COLOURS),
    ],
)
def test_the_theme_fits_the_terminal(term: str, colorterm: str, theme: str) -> None:
    assert theme_name(term, colorterm) == theme


def test_a_crash_tells_where_but_no_local_variable_and_no_password() -> None:
    services = FakeServices(migration=shop_migration(Step.REVIEW))
    app = WizardForTests(services, Step.REVIEW)

    def break_down() -> None:
        conninfo = "postgresql://mover:local-secret@db1/shop"
        raise RuntimeError(f"cannot use hunter2 {len(conninfo)}")

    async def run() -> None:
        async with app.run_test() as pilot:
            await settle(pilot)
            app.call_later(break_down)
            await pilot.pause(0.2)

    with pytest.raises(RuntimeError, match="cannot use"):
        asyncio.run(run())
    report = services.files["crash.txt"]
    assert "RuntimeError" in report
    assert "in break_down" in report
    assert "local-secret" not in report
    assert "hunter2" not in report


_PROGRAM = """
import sys
from pathlib import Path
from livesync_tui.terminal import run_wizard
result = run_wizard(folder=Path(sys.argv[1]))
sys.stdout.write(result.text)
sys.exit(result.exit_code)
"""


def _run_on_a_terminal(folder: Path, act: str) -> tuple[int, bytes]:
    """Run the wizard on a pseudo-terminal, act when it has drawn, and return its end and its output."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, **_GOOD, "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8"}
    environment.pop("SOURCE", None)
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
    )
    os.close(terminal)
    output = b""
    acted = False
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        readable, _, _ = select.select([controller], [], [], 0.1)
        if readable:
            try:
                output += os.read(controller, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
        if not acted and b"Which database is moved" in output:
            acted = True
            if act == "close":
                os.close(controller)
                break
            os.kill(process.pid, getattr(signal, act))
    try:
        code = process.wait(15)
    finally:
        process.kill()
        if act != "close":
            os.close(controller)
    return code, output


@pytest.mark.parametrize("act", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_leaves_in_order_and_gives_the_terminal_back(tmp_path: Path, act: str) -> None:
    code, output = _run_on_a_terminal(tmp_path / "state", act)
    assert code == 0
    assert b"\x1b[?1049l" in output
    assert b"Nothing was begun." in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", output)


def test_a_terminal_that_is_gone_ends_the_wizard(tmp_path: Path) -> None:
    # Its last words cannot be written any more, so the exit code is not the wizard's.
    _run_on_a_terminal(tmp_path / "state", "close")
    assert not list(tmp_path.rglob("crash.txt"))
