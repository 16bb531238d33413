"""What there is of TimescaleDB as a text to read: what the source has, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.timescaledb.overview import Making, OverviewLine, Part, TimescaleOverview
from engine.timescaledb.refill import RefillWay

TITLE = "TimescaleDB"

_SIGNS = {
    Making.THERE: "✓",
    Making.MADE: "+",
    Making.CHANGED: "~",
    Making.LATER: "◌",
    Making.LEFT_OUT: "✗",
}
_ROWS_COME = {
    RefillWay.RECOMPUTE: "its rows are computed again after the copy",
    RefillWay.COPY: "its rows are copied",
    RefillWay.LOSE: "a part of its rows is lost",
}


def overview_line(overview: TimescaleOverview) -> str:
    """All of it in one sentence; empty when the source does not have TimescaleDB."""
    if not overview.source:
        return ""
    counts = [f"{len(overview.of(part))} {part.value}" for part in Part if overview.of(part)] or [
        "no hypertables"
    ]
    line = f"{overview.source}: {', '.join(counts)}"
    left_out = sum(one.making is Making.LEFT_OUT for one in overview.lines)
    return f"{line}; {left_out} left out" if left_out else line


def overview_text(overview: TimescaleOverview) -> str:
    """The whole list, part by part, for :class:`screens.modals.text.TextModal`.

    Names may hold anything: what shows this makes it visible.
    """
    if not overview.source:
        return "The source does not have TimescaleDB."
    sides = [f"Source: {overview.source}", f"Target: {overview.target or 'without TimescaleDB'}"]
    return "\n".join([*sides, *_parts(overview)])


def _parts(overview: TimescaleOverview) -> Iterable[str]:
    for part in Part:
        lines = overview.of(part)
        if lines:
            yield ""
            yield f"{part.value.capitalize()}: {_counted(lines)}"
            for line in lines:
                yield from _line(line)


def _counted(lines: Sequence[OverviewLine]) -> str:
    counts = {making: sum(line.making is making for line in lines) for making in Making}
    return ", ".join(f"{count} {making.value}" for making, count in counts.items() if count)


def _line(line: OverviewLine) -> Iterable[str]:
    yield f"{_SIGNS[line.making]} {line.name} ({line.making.value})"
    yield f"    {line.details}"
    if line.making is not Making.LEFT_OUT and line.refill is not None:
        yield f"    {_ROWS_COME[line.refill]}: {line.reason}"
    elif line.reason:
        yield f"    {line.reason}"
