"""Waits for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

Value = TypeVar("Value")

_POLL_SECONDS = 0.02


def wait_until(
    predicate: Callable[[], Value],
    timeout_seconds: float = 90,
    describe: str | Callable[[], object] | None = None,
) -> Value:
    """Call ``predicate`` until it returns something true, and return that.

    Fails the test when ``timeout_seconds`` pass first, and says what was waited for, what the predicate
    returned last and, when ``describe`` can be called, how things stand at that moment.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    name = getattr(predicate, "__qualname__", repr(predicate))
    waited_for = describe if isinstance(describe, str) else name
    message = f"waited {timeout_seconds:g} s for: {waited_for}\nlast value: {value!r}"
    if callable(describe):
        message += f"\nnow: {describe()}"
    pytest.fail(message)
