"""Plain-text tables of medians and ratios, and targets reached or not."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from livesync_tui import output


@dataclass(frozen=True, slots=True)
class Target:
    """A number the project promised."""

    text: str
    """What is promised, as a sentence's end: ``at most 0.75 of pgcopydb's time``."""

    measured: float | None
    """None: not measured, the peer was skipped."""

    limit: float
    bound: Literal["at most", "at least"]
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the measured number is on the right side of the limit."""
        if self.measured is None:
            return False
        return self.measured <= self.limit if self.bound == "at most" else self.measured >= self.limit

    def line(self) -> str:
        """What was promised, what was measured, and whether that is enough."""
        promised = f"target: {self.text}, {self.bound} {self.limit:g}{self.unit}"
        if self.measured is None:
            return f"{promised}: not measured"
        verdict = "reached" if self.reached else "NOT REACHED"
        return f"{promised}: {_number(self.measured)}{self.unit}, {verdict}"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print a table: the first column to the left, numbers to the right, then ``notes``."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    output.line("")
    output.line(title)
    output.line("")
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        output.line("  ".join(cells).rstrip())
    output.line("")
    for note in notes:
        output.line(note)


def progress(text: str) -> None:
    """One line on stderr, about what was just measured: tables on stdout stay as they are pasted."""
    output.text(f"{text}\n", to=sys.stderr)


def seconds(values: Sequence[float]) -> str:
    """The median of ``values`` in seconds."""
    return f"{median(values):.2f}"


def each(values: Sequence[float], digits: int = 2) -> str:
    """All ``values`` in the order they were measured in."""
    return " ".join(f"{value:,.{digits}f}" for value in values)


def ratio(value: float) -> str:
    """A ratio with two digits."""
    return f"{value:.2f}"


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive ``values``."""
    return math.exp(sum(math.log(value) for value in values) / len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of ``values`` that ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
