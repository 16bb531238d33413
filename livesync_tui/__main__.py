"""Console entry point: ``livesync-tui`` and ``python -m livesync_tui``."""

from __future__ import annotations

import gc
import sys

_GARBAGE_OBJECTS = 200_000
"""Containers made before the interpreter looks for cycles. Applying makes a list for each row and no cycle;
at the default of 700 a sixth of its time went into looking (measured)."""


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(_GARBAGE_OBJECTS, 20, 20)
    from livesync_tui.cli import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
