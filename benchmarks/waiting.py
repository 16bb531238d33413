"""Waiting for a condition, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.errors import BenchmarkError

LONGEST_SECONDS = 3600.0
"""Longer than any measured work: a benchmark that hangs ends by itself."""


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    poll_seconds: float = 0.02,
    timeout_seconds: float = LONGEST_SECONDS,
) -> float:
    """Wait until ``condition()`` is true; the monotonic time (seconds) at which its answer arrived.

    Raises:
        BenchmarkError: It is not within ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        if condition():
            return time.monotonic()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"Waited {timeout_seconds:.0f} s in vain for {what}")
        time.sleep(poll_seconds)
