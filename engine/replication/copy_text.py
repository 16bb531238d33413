"""Rows in COPY's text format (PostgreSQL manual, COPY, "Text Format")."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.replication.protocol import Value

_SPECIAL = re.compile(rb"[\\\t\n\r]")
_ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}


def _escape(match: re.Match[bytes]) -> bytes:
    return _ESCAPES[match[0]]


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
            fields.append(_SPECIAL.sub(_escape, value))
    return b"\t".join(fields) + b"\n"
