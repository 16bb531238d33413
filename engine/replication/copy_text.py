"""Rows in COPY's text format (PostgreSQL manual, COPY, "Text Format"), with a NULL marker of our own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from operator import itemgetter
from typing import cast

from psycopg import sql

from engine.replication.tuple_data import NULL, Field

TEXT_OPTIONS = sql.SQL("(null {})").format(sql.Literal(NULL.decode()))
"""What COPY has to be told to read :func:`copy_block`."""


def copy_block(rows: Collection[Sequence[Field]], positions: Sequence[int]) -> bytes:
    """The values at ``positions`` of each row as lines; none of them is UNCHANGED.

    >>> copy_block([(b"a", b"unread", b"tab\\there")], [0, 2])
    b'a\\ttab\\\\there\\n'
    """
    block = b"\n".join(map(b"\t".join, _picked(rows, positions))) + b"\n"
    # What has to be escaped is rare; counting over the whole block costs next to nothing, where looking at
    # each value would cost as much as everything else.
    if (
        block.count(b"\n") == len(rows)
        and block.count(b"\t") == len(rows) * (len(positions) - 1)
        and b"\\" not in block
        and b"\r" not in block
    ):
        return block
    return b"\n".join([b"\t".join(map(_escaped, row)) for row in _picked(rows, positions)]) + b"\n"


def _picked(rows: Collection[Sequence[Field]], positions: Sequence[int]) -> Iterable[Iterable[bytes]]:
    chosen: Iterable[Iterable[Field]]
    if len(positions) == 1:
        position = positions[0]
        chosen = ((row[position],) for row in rows)
    elif not positions:
        chosen = (() for _ in rows)
    elif all(tuple(positions) == tuple(range(len(row))) for row in islice(rows, 1)):
        chosen = rows  # All columns in their order, as most tables have them.
    else:
        chosen = map(itemgetter(*positions), rows)
    return cast("Iterable[Iterable[bytes]]", chosen)


def _escaped(value: bytes) -> bytes:
    # Four passes in C; a regular expression would call back for each of maybe millions of matches.
    escaped = value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")
    return escaped.replace(b"\n", b"\\n").replace(b"\r", b"\\r")
