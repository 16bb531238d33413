"""Positions in the write-ahead log as integers, and their text form ``X/X`` (PostgreSQL 8.20, pg_lsn)."""

from __future__ import annotations


def parse_lsn(text: str) -> int:
    """Turn ``16/B374D848`` into an integer.

    >>> parse_lsn("16/B374D848")
    97500059720
    """
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn: int) -> str:
    """Turn an integer into ``16/B374D848``.

    >>> format_lsn(97500059720)
    '16/B374D848'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
