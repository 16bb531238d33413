"""Rows in COPY's text format (PostgreSQL manual, COPY, "Text Format"), with a NULL marker of our own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from engine.replication.tuple_data import NULL

TEXT_OPTIONS = sql.SQL("(null {})").format(sql.Literal(NULL.decode()))
"""What COPY has to be told to read :func:`copy_block`."""


def copy_block(rows: Iterable[Sequence[bytes]], columns: int) -> bytes:
    """Rows of ``columns`` values each as lines.

    >>> copy_block([(b"a", b"tab\\there")], 2)
    b'a\\ttab\\\\there\\n'
    """
    rows = list(rows)
    block = b"\n".join(map(b"\t".join, rows)) + b"\n"
    # What has to be escaped is rare; counting over the whole block costs next to nothing, where looking at
    # each value would cost as much as everything else.
    if (
        block.count(b"\n") == len(rows)
        and block.count(b"\t") == len(rows) * (columns - 1)
        and b"\\" not in block
        and b"\r" not in block
    ):
        return block
    return b"\n".join([b"\t".join(map(_escaped, row)) for row in rows]) + b"\n"


def _escaped(value: bytes) -> bytes:
    # Four passes in C; a regular expression would call back for each of maybe millions of matches.
    escaped = value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")
    return escaped.replace(b"\n", b"\\n").replace(b"\r", b"\\r")
