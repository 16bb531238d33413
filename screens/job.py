"""One blocking call on a thread of its own, and its value back on the screen's thread.

Not Textual's thread workers: those live in asyncio's default executor, whose threads the interpreter
waits for at exit, so a hung connection would keep the terminal for its whole timeout. A daemon thread
does not. The thread touches no widget: it posts one message, and a result that is no longer wanted is
dropped by its number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from textual.message import Message
from textual.message_pump import MessagePump

from engine.errors import Failure, Retry

Value = TypeVar("Value")


@dataclass
class JobFinished(Message):
    """A job's value has come; ``deliver`` hands it to who asked."""

    name: str
    number: int
    deliver: Callable[[], None]


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that has not come back."""

    number: int
    doing: str
    """What is being done, as a present participle: ``reading the table list``."""

    started_monotonic_seconds: float
    is_quiet: bool
    """Whether it goes on in the background without holding anything up."""


class Jobs:
    """The jobs of one screen, by name; starting one again makes the older result void."""

    def __init__(self, owner: MessagePump, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._clock = clock
        self._next_number = 1
        self._running: dict[str, RunningJob] = {}

    def start(
        self,
        name: str,
        doing: str,
        call: Callable[[], Value | Failure],
        done: Callable[[Value | Failure], None],
        *,
        quiet: bool = False,
    ) -> None:
        """Run ``call`` on a thread and ``done`` with its value on the screen's."""
        number = self._next_number
        self._next_number += 1
        self._running[name] = RunningJob(number, doing, self._clock(), quiet)

        def run() -> None:
            try:
                value: Value | Failure = call()
            except Exception as error:
                # The class name only: the text may carry a connection string.
                value = Failure(
                    f"Internal error while {doing}",
                    detail=type(error).__name__,
                    hint="This is a bug in livesync-tui; try again, and report it with the log file",
                    retry=Retry.MANUAL,
                )
            self._owner.post_message(JobFinished(name, number, partial(done, value)))

        threading.Thread(target=run, name=f"job-{name}", daemon=True).start()

    def finish(self, finished: JobFinished) -> None:
        """Deliver a value, unless a newer job of that name was started or the job was dropped."""
        running = self._running.get(finished.name)
        if running is None or running.number != finished.number:
            return
        del self._running[finished.name]
        finished.deliver()

    def drop(self, name: str) -> None:
        """Stop waiting for a job; its thread ends by itself."""
        self._running.pop(name, None)

    def is_running(self, name: str) -> bool:
        """Whether a job of that name has not come back."""
        return name in self._running

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all jobs that have not come back, the quiet ones too."""
        return tuple(self._running)

    @property
    def running(self) -> tuple[RunningJob, ...]:
        """Jobs that something waits for, oldest first."""
        return tuple(job for job in self._running.values() if not job.is_quiet)
