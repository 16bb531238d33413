"""What a piece of work costs: seconds on the clock, and seconds of CPU by who spent them, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.processes import PROC, descendants
from benchmarks.servers import Database

_POSTMASTER = "select split_part(pg_catalog.pg_read_file('postmaster.pid'), E'\\n', 1)::integer"

_IN_USER_MODE, _CHILDREN_IN_KERNEL_MODE = 11, 14
"""Where in /proc/PID/stat, after the program's name, the four fields of CPU time begin and end."""


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    """User and system time together."""

    programs: float
    """Everything this benchmark has started except the two servers."""

    source: float
    """The source's backends and background processes."""

    target: float
    """Those of the target."""

    @property
    def together(self) -> float:
        """Of all three."""
        return self.programs + self.source + self.target

    def __add__(self, other: CpuSeconds) -> CpuSeconds:
        return CpuSeconds(
            self.programs + other.programs, self.source + other.source, self.target + other.target
        )

    def __sub__(self, other: CpuSeconds) -> CpuSeconds:
        return CpuSeconds(
            self.programs - other.programs, self.source - other.source, self.target - other.target
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of work."""

    seconds: float
    cpu: CpuSeconds | None
    """None: this system has no /proc."""

    def __add__(self, other: Cost) -> Cost:
        cpu = None if self.cpu is None or other.cpu is None else self.cpu + other.cpu
        return Cost(self.seconds + other.seconds, cpu)


class Meter:
    """Measures from its making to `cost`."""

    def __init__(self, source: Database, target: Database) -> None:
        self._postmasters = source.number(_POSTMASTER), target.number(_POSTMASTER)
        self._cpu_before = self._cpu()
        self._started = time.monotonic()

    def cost(self, ended: float | None = None) -> Cost:
        """What it came to.

        Args:
            ended: The monotonic time in seconds at which the work ended; now when None.
        """
        seconds = (time.monotonic() if ended is None else ended) - self._started
        before, now = self._cpu_before, self._cpu()
        return Cost(seconds, None if before is None or now is None else now - before)

    def _cpu(self) -> CpuSeconds | None:
        """Since the start of every process; those that have ended count in the one that waited for them."""
        if not (PROC / "self" / "stat").exists():
            return None
        source, target = self._postmasters
        here = os.getpid()
        ended = os.times()
        programs = descendants(here, without=self._postmasters)
        programs.remove(here)  # Asks and waits: no part of the work.
        return CpuSeconds(
            programs=ended.children_user + ended.children_system + _sum(programs),
            source=_sum(descendants(source)),
            target=_sum(descendants(target)),
        )


def _sum(pids: Iterable[int]) -> float:
    """CPU seconds of processes and of those children of theirs that they have waited for."""
    ticks = 0
    for pid in pids:
        try:
            stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            continue  # It ended while we were looking.
        # The program's name is in parentheses and may itself hold anything.
        fields = stat.rpartition(")")[2].split()
        ticks += sum(map(int, fields[_IN_USER_MODE : _CHILDREN_IN_KERNEL_MODE + 1]))
    return ticks / os.sysconf("SC_CLK_TCK")
