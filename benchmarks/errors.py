"""What ends a benchmark."""

from __future__ import annotations

from pathlib import Path

_TAIL_LINES = 20


class BenchmarkError(Exception):
    """A peer failed, did not come to an end in time, or left a target that differs from its source."""


class PeerSkippedError(Exception):
    """A peer that cannot do this work here, with the reason in plain words; the others go on."""


def tail(log: Path) -> str:
    """The last lines of ``log``, for an error's text."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])
