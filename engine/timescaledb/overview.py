"""What there is of TimescaleDB on the source and what becomes of it. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.timescaledb.refill import RefillWay


class Part(Enum):
    """What a line is about; in the order they are shown."""

    HYPERTABLE = "hypertables"
    AGGREGATE = "continuous aggregates"
    POLICY = "policies and jobs"


class Making(Enum):
    """What becomes of it on the target."""

    THERE = "there"
    MADE = "will be made"
    CHANGED = "will be changed"
    LATER = "after the copy"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class OverviewLine:
    """One hypertable, continuous aggregate, policy or job of the source."""

    part: Part
    name: str
    """Quoted where SQL needs it, with its schema."""

    details: str
    """How it is, in a few words."""

    making: Making
    reason: str = ""
    """Why it is left out; of an aggregate, why its rows come the way they do."""

    refill: RefillWay | None = None
    """Of an aggregate, how its rows come to the target."""


@dataclass(frozen=True, slots=True)
class TimescaleOverview:
    """All of it; nothing when the source does not have TimescaleDB."""

    source: str
    """Release and edition; empty without."""

    target: str
    """The same; empty without."""

    lines: tuple[OverviewLine, ...]

    def of(self, part: Part) -> tuple[OverviewLine, ...]:
        return tuple(line for line in self.lines if line.part is part)
