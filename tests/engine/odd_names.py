"""Names that break what quotes badly."""

from __future__ import annotations

ODD_NAMES = (
    'it\'s "quoted" `so`',
    "[bold]{0} %s %(a)s",
    "a\nb\tc\r",
    "ä" * 31 + "z",
    "שלום \u202etxt.exe",
    r"C:\new $1 $$ -- ; drop",
)
"""Quotes, brackets, a newline, 63 bytes, right to left, comments."""
