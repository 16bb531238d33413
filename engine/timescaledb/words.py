"""How values are written in the scripts: names, intervals and literals as SQL."""

from __future__ import annotations

from engine.catalog.table import TableName
from engine.script.masking import literal
from engine.timescaledb.hypertable import Extent, RoutineName

_UNITS = (
    (86_400_000_000, "day"),
    (3_600_000_000, "hour"),
    (60_000_000, "minute"),
    (1_000_000, "second"),
    (1_000, "millisecond"),
    (1, "microsecond"),
)


def relation(name: TableName) -> str:
    """A table or view as an argument."""
    return f"{literal(str(name))}::regclass"


def routine(name: RoutineName) -> str:
    """A function as an argument."""
    return f"{literal(str(name))}::regproc"


def interval(text: str) -> str:
    """An interval, as PostgreSQL wrote it."""
    return f"INTERVAL {literal(text)}"


def extent_text(extent: Extent) -> str:
    """How long a chunk is, without quotes: ``7 days``, or a number.

    >>> extent_text(Extent(604_800_000_000, is_integer=False)), extent_text(Extent(1000, is_integer=True))
    ('7 days', '1000')
    """
    if extent.is_integer:
        return str(extent.length)
    size, unit = next(found for found in _UNITS if extent.length % found[0] == 0)
    count = extent.length // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def extent(value: Extent) -> str:
    """How long a chunk is, as an argument."""
    text = extent_text(value)
    return f"{text}::bigint" if value.is_integer else interval(text)


def boolean(value: bool) -> str:
    return "true" if value else "false"
