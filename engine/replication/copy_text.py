"""Rows in COPY's text format (PostgreSQL manual, COPY, "Text Format")."""

from __future__ import annotations

from collections.abc import Iterable

from engine.replication.protocol import Value


def copy_line(values: Iterable[Value]) -> bytes:
    """One row of text values as a line; NULL is ``\\N``.

    >>> copy_line([b"a", None, b"tab\\there"])
    b'a\\t\\\\N\\ttab\\\\there\\n'
    """
    fields = []
    for value in values:
        if value is None:
            fields.append(b"\\N")
        else:
            assert isinstance(value, bytes)
            # Four passes in C; a regular expression would call back for each of maybe millions of matches.
            escaped = value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")
            fields.append(escaped.replace(b"\n", b"\\n").replace(b"\r", b"\\r"))
    return b"\t".join(fields) + b"\n"
