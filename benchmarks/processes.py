"""Which processes belong together, from /proc."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

PROC = Path("/proc")


def descendants(pid: int, without: Container[int] = ()) -> list[int]:
    """``pid``, its children and theirs; processes in ``without`` and what they started are left out."""
    found = [pid]
    for parent in found:
        found.extend(child for child in _children(parent) if child not in without)
    return found


def _children(pid: int) -> list[int]:
    """Of those of its threads that have not ended while we were looking."""
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
        except OSError:
            continue
    return found
