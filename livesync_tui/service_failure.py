"""Errors as values, for methods that screens call: none of them raises."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engine.errors import EngineError, Failure, Retry

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def failure_of(error: Exception, doing: str) -> Failure:
    """An error as a value; of what the engine did not raise on purpose only the class is told."""
    if isinstance(error, EngineError):
        return error.failure
    if isinstance(error, OSError):
        return Failure(f"{doing} failed", detail=error.strerror or "", retry=Retry.MANUAL)
    return Failure(
        f"Internal error while {doing}",
        detail=type(error).__name__,
        hint="This is a bug in livesync-tui; try again, and report it with the log file",
    )


def returns_failure(
    doing: str,
) -> Callable[[Callable[Parameters, Value]], Callable[Parameters, Value | Failure]]:
    """Make a method return what it would have raised."""

    def decorate(method: Callable[Parameters, Value]) -> Callable[Parameters, Value | Failure]:
        @functools.wraps(method)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Value | Failure:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                return failure_of(error, doing)

        return call

    return decorate


def raised(outcome: Value | Failure) -> Value:
    """What a method that returns failures has brought, for another such method.

    Raises:
        EngineError: It was a failure.
    """
    if isinstance(outcome, Failure):
        raise EngineError(outcome)
    return outcome
