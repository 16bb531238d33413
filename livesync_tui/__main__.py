"""Console entry point: ``livesync-tui`` and ``python -m livesync_tui``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from livesync_tui.cli import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
