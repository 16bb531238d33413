"""Which processes belong together, from /proc."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

PROC = Path("/proc")


def descendants(pid: int, without: Container[int] = ()) -> list[int]:
    """``pid``, its children and theirs; processes in ``without`` and what they started are left out."""
    found = [pid]
    for parent in found:
        for children in (PROC / str(parent) / "task").glob("*/children"):
            try:
                ids = map(int, children.read_text(encoding="ascii").split())
            except OSError:
                continue  # It ended while we were looking.
            found.extend(child for child in ids if child not in without)
    return found
