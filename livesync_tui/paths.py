"""Where files live on this machine; a write that is cut off leaves the old file or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs


def state_directory() -> Path:
    """The folder of saved migrations, one folder each."""
    return platformdirs.user_state_path("livesync-tui")


def make_private_directory(path: Path) -> None:
    """Make a folder that only its owner can enter; its new parents too."""
    missing = [path, *path.parents]
    for folder in reversed([folder for folder in missing if not folder.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)


def write_private_file(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        # mkstemp gives 0600.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make a replaced name durable; systems that cannot open folders do it by themselves."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Some network file systems refuse it for folders.
    finally:
        os.close(descriptor)
