"""``livesync-tui`` without a command: the wizard."""

from __future__ import annotations

import os
import sys

from livesync_tui import output
from livesync_tui.terminal import run_wizard


def wizard(*, dry_run: bool = False) -> int:
    """Run the wizard with ``$SOURCE`` and ``$TARGET`` prefilled; the exit code."""
    result = run_wizard(
        source=os.environ.get("SOURCE", ""), target=os.environ.get("TARGET", ""), dry_run=dry_run
    )
    output.text(result.text, to=sys.stderr if result.exit_code else sys.stdout)
    return result.exit_code
