"""Numbers, times and foreign text as a person reads them.

Everything that comes from a server or a person passes :func:`visible` and then :func:`plain` (a Textual
``Content``) or :func:`cell` (a Rich ``Text`` for one line): both take it literally, so a table named
``w[/]x`` is shown as ``w[/]x``. Sizes count in 1024, as ``pg_size_pretty`` does.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime

from rich.console import JustifyMethod
from rich.text import Text
from textual.content import Content

UNKNOWN = "unknown"
"""What a number that is not known is called; never 0."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")


def visible(text: str) -> str:
    r"""Spell out characters that would move the cursor or reorder the line; leave all others.

    >>> visible("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    return "".join(_spelled_out(character) for character in text)


def _spelled_out(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if character in _REORDERING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def visible_lines(text: str) -> str:
    """Like :func:`visible`, for text whose line ends are meant."""
    return "\n".join(visible(line.expandtabs(4)) for line in text.splitlines())


def plain(text: str, style: str = "") -> Content:
    """One line of foreign text for a Static, Label or border title."""
    return Content.styled(visible(text), style) if style else Content(visible(text))


def cell(text: str, style: str = "", *, right: bool = False) -> Text:
    """One line of foreign text for a table's cell; what does not fit ends in an ellipsis."""
    justify: JustifyMethod = "right" if right else "left"
    return Text(visible(text), style=style, no_wrap=True, overflow="ellipsis", justify=justify, end="")


def human_bytes(size: float | None) -> str:
    """A size with two or three significant digits.

    >>> human_bytes(0), human_bytes(1536), human_bytes(12_345_678), human_bytes(None)
    ('0 bytes', '1.5 kB', '11.8 MB', 'unknown')
    """
    if size is None:
        return UNKNOWN
    unit = 0
    while abs(size) >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    if unit == 0:
        return f"{size:.0f} bytes"
    return f"{size:.1f} {_UNITS[unit]}" if abs(size) < 100 else f"{size:.0f} {_UNITS[unit]}"


def human_count(count: int | None) -> str:
    """A number with thousands separated.

    >>> human_count(1234567)
    '1,234,567'
    """
    return UNKNOWN if count is None else f"{count:,}"


def human_estimate(count: int | None) -> str:
    """An estimate, marked as one and rounded, so that nobody compares it digit by digit.

    >>> human_estimate(0), human_estimate(950), human_estimate(1_234_567)
    ('~0', '~950', '~1.2 M')
    """
    if count is None:
        return UNKNOWN
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            scaled = count / (1000 if unit == "k" else size)
            return f"~{scaled:.1f} {unit}" if scaled < 100 else f"~{scaled:.0f} {unit}"
    return f"~{count:,}"


def human_rate(bytes_per_second: float | None) -> str:
    """A transfer rate.

    >>> human_rate(3_000_000)
    '2.9 MB/s'
    """
    return UNKNOWN if bytes_per_second is None else f"{human_bytes(bytes_per_second)}/s"


def human_per_second(count: float | None) -> str:
    """How many a second.

    >>> human_per_second(1234.4), human_per_second(0.25)
    ('1,234/s', '0.2/s')
    """
    if count is None:
        return UNKNOWN
    return f"{count:,.0f}/s" if count >= 10 or count == 0 else f"{count:.1f}/s"


def human_duration(seconds: float | None) -> str:
    """A span of time in at most two units.

    >>> human_duration(0.42), human_duration(75), human_duration(3725), human_duration(200000)
    ('0.4 s', '1 min 15 s', '1 h 02 min', '2 d 07 h')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def human_whole_seconds(seconds: float) -> str:
    """A running counter, without a digit that changes faster than it is drawn.

    >>> human_whole_seconds(7.8), human_whole_seconds(75)
    ('7 s', '1 min 15 s')
    """
    return f"{int(seconds)} s" if seconds < 60 else human_duration(int(seconds))


def human_milliseconds(seconds: float) -> str:
    """A round trip.

    >>> human_milliseconds(0.0123)
    '12.3 ms'
    """
    return f"{seconds * 1000:.1f} ms"


def human_moment(moment: datetime | None) -> str:
    """A time with its zone, because the person and the servers may be in three of them."""
    return UNKNOWN if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def plural(count: int, noun: str, several: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "table"), plural(12345, "table"), plural(2, "query", "queries")
    ('1 table', '12,345 tables', '2 queries')
    """
    word = noun if count == 1 else (several or f"{noun}s")
    return f"{count:,} {word}"
