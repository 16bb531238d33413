"""Opens a file in the person's editor and waits for its end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from engine.errors import Failure


def edit_file(app: App[Any], command: Sequence[str], path: Path) -> Failure | None:
    """Give the terminal to an editor until it ends.

    Args:
        app: Has the terminal now, and again afterwards.
        command: The editor with its arguments.
        path: The file.

    Returns:
        Why the editor could not be started.
    """
    with app.suspend():
        # What is raised here would leave the terminal as it is.
        said = run_editor([*command, str(path)])
    return Failure(f"{command[0]} could not be started", said, "Set EDITOR to an editor") if said else None


def run_editor(command: Sequence[str]) -> str:
    """Run an editor in the foreground of the terminal and wait for it; why it could not be started, or "".

    An interrupt from the keyboard is the editor's; it does not end the wizard behind it.
    """
    # A handler of ours is not inherited, as SIG_IGN would be.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        subprocess.run(command, check=False)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        signal.signal(signal.SIGINT, before)
    return ""
