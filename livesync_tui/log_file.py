"""The log: a file that only its owner can read, and nothing on the terminal."""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

from livesync_tui.paths import make_private_directory

_LOG_BYTES = 10 * 1024 * 1024
_LOG_FILES = 3


def log_to_file(folder: Path, name: str) -> Path:
    """Send all logging to a file; a line on stderr would be painted over the screen.

    Args:
        folder: Made when it is not there.
        name: Of the file; each process has its own, because each of them moves full ones away.

    Raises:
        OSError: It cannot be written.
    """
    make_private_directory(folder)
    path = folder / name
    # Made before the handler opens it, so that it is never readable by others.
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    for existing in list(root.handlers):
        root.removeHandler(existing)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    return path
