"""The terminal around the wizard: what it must be able to do, its settings, its end.

Textual reads its settings from the environment when it is imported, so :func:`prepare` runs first and
nothing here imports Textual at module level. Everything that can fail on the way in fails before the
screen is taken, as an ordinary line. After the wizard the engine is waited for, and the returned text is
for the normal terminal, where it survives the alternate screen.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from engine.errors import Failure, Retry
from livesync_tui.host.address import runtime_directory
from livesync_tui.log_file import log_to_file
from livesync_tui.paths import state_directory

if TYPE_CHECKING:
    from livesync_tui.app import MigrationApp

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

_SETTINGS = {
    # Escape sequences arrive in pieces over a slow link; a lone esc may wait that long.
    "ESCDELAY": "300",
    # At most that many updates a second are sent; more only queue up in the link.
    "TEXTUAL_FPS": "15",
    "TEXTUAL_ANIMATIONS": "none",
    "TEXTUAL_SMOOTH_SCROLL": "0",
}

_LEAKS = ("TEXTUAL_LOG", "TEXTUAL", "TEXTUAL_DEBUG")
"""With these Textual writes every key to a file or a socket, passwords too."""

_INSTEAD = "Use livesync-tui run and livesync-tui status, which need no screen"


@dataclass(frozen=True, slots=True)
class WizardResult:
    """How the wizard ended."""

    text: str
    """For the normal terminal; ends with a line end."""

    exit_code: int


def terminal_problem(
    environment: MutableMapping[str, str], *, is_a_tty: bool, encoding: str
) -> Failure | None:
    """Why the wizard cannot be drawn here, or None."""
    term = environment.get("TERM", "")
    if not is_a_tty:
        return Failure("The wizard needs a terminal", hint=_INSTEAD, retry=Retry.NEVER)
    if term in ("", "dumb", "unknown"):
        said = f"TERM is {term or 'not set'}"
        return Failure(f"This terminal cannot show the wizard: {said}", hint=_INSTEAD, retry=Retry.NEVER)
    if encoding.lower().replace("-", "") != "utf8":
        return Failure(
            f"This locale cannot show the wizard's characters (encoding {encoding})",
            hint="Set LC_ALL=C.UTF-8 and start again",
            retry=Retry.NEVER,
        )
    leaks = [name for name in _LEAKS if environment.get(name)]
    if leaks:
        return Failure(
            f"{' and '.join(leaks)} would write what is typed, passwords too, to a log",
            hint=f"Unset {' '.join(leaks)} and start again",
            retry=Retry.NEVER,
        )
    return None


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set what Textual reads at import, without overriding what the person chose."""
    for name, value in _SETTINGS.items():
        environment.setdefault(name, value)


def _standard_terminal() -> tuple[bool, str]:
    """Whether keys can be read and a screen drawn, and in which encoding; Textual draws on stderr."""
    stderr = sys.__stderr__
    if sys.__stdin__ is None or stderr is None:
        return False, ""
    return sys.__stdin__.isatty() and stderr.isatty(), stderr.encoding or ""


@contextmanager
def signals_leave(app: MigrationApp) -> Iterator[None]:
    """Make hang-up, termination and interrupt leave the wizard in order; Textual handles none of them."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        app.leave_now()

    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_wizard(
    *,
    source: str = "",
    target: str = "",
    subscription: str = "",
    stop_writers: Callable[[], None] | None = None,
    folder: Path | None = None,
    mouse: bool | None = None,
    dry_run: bool = False,
) -> WizardResult:
    """Run the wizard to its end.

    Args:
        source: Connection string to prefill, such as ``$SOURCE``.
        target: The same for the target.
        subscription: Name for a new migration; made from the source database's name when empty.
        stop_writers: Stops the application's writers and returns when they have stopped; the demo's.
        folder: Where saved migrations and the log live; the user's state directory when None.
        mouse: Whether mouse reports are asked for; when None, only where the link is not SSH, because
            they break the terminal's own selection and send something at every move.
        dry_run: Change nothing on either server.
    """
    is_a_tty, encoding = _standard_terminal()
    problem = terminal_problem(os.environ, is_a_tty=is_a_tty, encoding=encoding)
    if problem is not None:
        return WizardResult(f"livesync-tui: {problem.sentence()}\n", EXIT_USAGE)
    prepare(os.environ)
    where = folder or state_directory()
    try:
        log_path = log_to_file(where, "livesync.log")
    except OSError as error:
        return WizardResult(f"livesync-tui: {where} cannot be written: {error.strerror}.\n", EXIT_FAILED)

    from livesync_tui.app import build_app
    from livesync_tui.theme import theme_name

    app = build_app(
        source=source,
        target=target,
        subscription=subscription,
        stop_writers=stop_writers,
        folder=where,
        log_path=log_path,
        theme=theme_name(os.environ.get("TERM", ""), os.environ.get("COLORTERM", "")),
        terminal_is_there=lambda: os.isatty(0),
        dry_run=dry_run,
        # The demo's servers end with it, so its engine does too.
        host_directory=None if stop_writers is not None else runtime_directory(),
    )
    with signals_leave(app):
        app.run(mouse="SSH_CONNECTION" not in os.environ if mouse is None else mouse)
    failed = bool(app.return_code)
    return WizardResult(app.finish(), EXIT_FAILED if failed else EXIT_DONE)
