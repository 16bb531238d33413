"""Reads rows straight from pgoutput's TupleData: the innermost loop of applying.

``Int16`` number of columns, then for each one a kind: ``n`` NULL, ``u`` an unchanged TOASTed value, or ``t``
followed by ``Int32`` length and the text (PostgreSQL 54.9 "TupleData"). Values stay slices of the message; no
Python value is made of them. :mod:`engine.replication.protocol` reads the same bytes into the typed messages
that applying change by change works with.
"""

from __future__ import annotations

import secrets
from typing import Final

from engine.replication.protocol import UNCHANGED, ProtocolError, Unchanged

NULL: Final = b"null:" + secrets.token_urlsafe(9).encode()
"""NULL in a field and in the COPY that writes it. Drawn anew for each process from 2**72, so that no value
of the source is it by chance or by intent; a shorter one would need every value to be looked at."""

Field = bytes | Unchanged
"""One column: the text's bytes, :data:`NULL`, or UNCHANGED."""

Fields = list[Field]
"""One row in the order of the relation's columns."""

_SHORT_TEXT = b"t\0\0\0"
"""A text of less than 256 bytes: one comparison tells its kind, and its length is the next byte."""

_NULL_KIND, _UNCHANGED_KIND, _TEXT_KIND = b"nut"


def read_fields(message: bytes, at: int) -> Fields:
    """The columns from ``at``, behind their count, to the end of ``message``.

    Raises:
        ProtocolError: A kind that protocol version 1 does not have, or a value that is cut off.
    """
    fields: Fields = []
    append = fields.append
    end = len(message)
    while at < end:
        if message[at : at + 4] == _SHORT_TEXT:
            start = at + 5
            at = start + message[at + 4]
            append(message[start:at])
        elif message[at] == _NULL_KIND:
            append(NULL)
            at += 1
        elif message[at] == _UNCHANGED_KIND:
            append(UNCHANGED)
            at += 1
        elif message[at] == _TEXT_KIND:
            start = at + 5
            at = start + int.from_bytes(message[at + 1 : start], "big")
            append(message[start:at])
        else:
            raise ProtocolError(f"unknown column kind {message[at]!r}")
    if at != end:
        raise ProtocolError("a row that is cut off")
    return fields


def end_of_row(message: bytes, at: int) -> int:
    """Where the TupleData whose count is at ``at`` ends."""
    count = int.from_bytes(message[at : at + 2], "big")
    at += 2
    for _ in range(count):
        at += 5 + int.from_bytes(message[at + 1 : at + 5], "big") if message[at] == _TEXT_KIND else 1
    return at
