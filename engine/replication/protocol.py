"""Decodes what a walsender sends: the replication sub-protocol and pgoutput's messages inside it.

Two layers (PostgreSQL 54.4 "Streaming Replication Protocol" and 54.9 "Logical Replication Message
Formats", protocol version 1):

* a CopyData message is an :class:`XLogData` (``w``) or a :class:`Keepalive` (``k``);
* an XLogData carries one pgoutput message. Between a Begin (``B``) and a Commit (``C``) come the changes
  of one transaction; transactions come whole and in commit order. A :class:`Relation` comes before the
  first change of a table on a connection, and again after the table changed.

Begin, Commit and changes come by the million, so :mod:`engine.replication.gather` reads what it needs of them
in place. Column values stay the bytes that arrived. Nothing here touches a connection.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Unchanged(Enum):
    """The type of :data:`UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A TOASTed value that the UPDATE did not touch and pgoutput did not send (tuple kind ``u``)."""

Value = bytes | None | Unchanged
"""One column: text bytes, NULL, or :data:`UNCHANGED`."""

Row = tuple[Value, ...]
"""One tuple, in the order of :attr:`Relation.columns`."""


class ProtocolError(Exception):
    """The bytes are not what the protocol allows; the stream cannot be trusted any further."""


@dataclass(frozen=True, slots=True)
class XLogData:
    """One pgoutput message with its place in the log."""

    wal_start: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server has sent everything up to ``wal_end``."""

    wal_end: int
    reply_requested: bool


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """One published column."""

    name: str
    is_key: bool
    """Part of the replica identity; every column is under REPLICA IDENTITY FULL."""

    type_oid: int
    type_modifier: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the following changes describe it."""

    oid: int
    schema: str
    table: str
    replica_identity: str
    """``pg_class.relreplident``: d, n, f or i."""

    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row."""

    relation_oid: int
    new: Row


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row."""

    relation_oid: int
    old: Row | None
    """The old key (other columns None) when the key changed, the whole old row under REPLICA IDENTITY
    FULL, else None: then the key is in ``new``."""

    new: Row


@dataclass(frozen=True, slots=True)
class Delete:
    """A removed row; ``old`` holds its key or, under REPLICA IDENTITY FULL, all of it."""

    relation_oid: int
    old: Row


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables emptied by one statement."""

    relation_oids: tuple[int, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """What somebody wrote by ``pg_logical_emit_message`` (PostgreSQL 9.28.6)."""

    is_transactional: bool
    """Whether it came with its transaction; otherwise it was sent on its own."""

    prefix: str
    content: bytes


Message = Relation | Insert | Update | Delete | Truncate | LogicalMessage

_XLOG_HEADER = struct.Struct("!cQQq")
_KEEPALIVE = struct.Struct("!cQq?")
_LSN = struct.Struct("!Q")
_TIME = struct.Struct("!q")
_UINT16 = struct.Struct("!H")
_UINT32 = struct.Struct("!I")
_INT32 = struct.Struct("!i")
_COLUMN_TYPE = struct.Struct("!Ii")
_TRUNCATE = struct.Struct("!IB")
_STATUS = struct.Struct("!cQQQq?")

_NULL, _UNCHANGED_TOAST, _TEXT = ord("n"), ord("u"), ord("t")


def final_lsn_of(message: bytes) -> int:
    """Of an XLogData message with a Begin: the start of the transaction's commit record.

    It decides which snapshot or position contains the transaction.
    """
    lsn: int = _LSN.unpack_from(message, 26)[0]
    return lsn


def end_lsn_of(message: bytes) -> int:
    """Of an XLogData message with a Commit: the end of the commit record, the position to resume from."""
    lsn: int = _LSN.unpack_from(message, 35)[0]
    return lsn


def committed_at_of(message: bytes) -> datetime:
    """Of an XLogData message with a Commit: when the source committed."""
    microseconds: int = _TIME.unpack_from(message, 43)[0]
    return _POSTGRES_EPOCH + timedelta(microseconds=microseconds)


def decode_copy_data(data: bytes) -> XLogData | Keepalive:
    """Decode one CopyData message of a replication stream.

    Raises:
        ProtocolError: Neither ``w`` nor ``k``.
    """
    kind = data[:1]
    if kind == b"w":
        _, wal_start, _, _ = _XLOG_HEADER.unpack_from(data)
        return XLogData(wal_start, data[_XLOG_HEADER.size :])
    if kind == b"k":
        _, wal_end, _, reply_requested = _KEEPALIVE.unpack(data)
        return Keepalive(wal_end, reply_requested)
    raise ProtocolError(f"unknown replication message {kind!r}")


def encode_status_update(received_lsn: int, flushed_lsn: int, *, reply_requested: bool) -> bytes:
    """Encode a standby status update (``r``).

    Args:
        received_lsn: How far messages were read.
        flushed_lsn: How far everything is durable on the target; the source may drop WAL before it.
        reply_requested: Ask for a keepalive now.
    """
    microseconds = (datetime.now(UTC) - _POSTGRES_EPOCH) // timedelta(microseconds=1)
    return _STATUS.pack(b"r", received_lsn, flushed_lsn, flushed_lsn, microseconds, reply_requested)


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _row(data: bytes, at: int) -> tuple[Row, int]:
    """Decode a TupleData starting at ``at``; return it and where the next part starts."""
    (count,) = _UINT16.unpack_from(data, at)
    at += 2
    values: list[Value] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == _TEXT:
            (length,) = _INT32.unpack_from(data, at)
            at += 4
            values.append(data[at : at + length])
            at += length
        elif kind == _NULL:
            values.append(None)
        elif kind == _UNCHANGED_TOAST:
            values.append(UNCHANGED)
        else:
            raise ProtocolError(f"unknown column kind {kind!r}")
    return tuple(values), at


def _relation(data: bytes) -> Relation:
    (oid,) = _UINT32.unpack_from(data, 1)
    schema, at = _string(data, 5)
    table, at = _string(data, at)
    identity = chr(data[at])
    (count,) = _UINT16.unpack_from(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        is_key = bool(data[at] & 1)
        name, at = _string(data, at + 1)
        type_oid, type_modifier = _COLUMN_TYPE.unpack_from(data, at)
        at += _COLUMN_TYPE.size
        columns.append(RelationColumn(name, is_key, type_oid, type_modifier))
    # pg_catalog is sent as an empty schema name.
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _insert(data: bytes) -> Insert:
    (oid,) = _UINT32.unpack_from(data, 1)
    return Insert(oid, _row(data, 6)[0])


def _update(data: bytes) -> Update:
    (oid,) = _UINT32.unpack_from(data, 1)
    old: Row | None = None
    at = 5
    if data[at] in b"KO":
        old, at = _row(data, at + 1)
    return Update(oid, old, _row(data, at + 1)[0])


def _delete(data: bytes) -> Delete:
    (oid,) = _UINT32.unpack_from(data, 1)
    return Delete(oid, _row(data, 6)[0])


def _truncate(data: bytes) -> Truncate:
    count, options = _TRUNCATE.unpack_from(data, 1)
    oids = struct.unpack_from(f"!{count}I", data, 1 + _TRUNCATE.size)
    return Truncate(oids, bool(options & 1), bool(options & 2))


def _logical_message(data: bytes) -> LogicalMessage:
    # Behind the flags comes the position, which nothing asks for.
    prefix, at = _string(data, 10)
    (length,) = _INT32.unpack_from(data, at)
    return LogicalMessage(bool(data[1] & 1), prefix, data[at + 4 : at + 4 + length])


_DECODERS: dict[int, Callable[[bytes], Message]] = {
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("R"): _relation,
    ord("T"): _truncate,
    ord("M"): _logical_message,
}

_IGNORED = frozenset(b"OY")
"""Origin names a replication origin and Type a user-defined type; columns are matched by name and values
travel as text, so neither changes what is written."""


def decode_change(message: bytes) -> Insert | Update | Delete:
    """Decode the change in an XLogData message.

    Raises:
        ProtocolError: There is none.
    """
    decoded = decode_message(message[_XLOG_HEADER.size :])
    if not isinstance(decoded, Insert | Update | Delete):
        raise ProtocolError("not a change of a row")
    return decoded


def decode_message(payload: bytes) -> Message | None:
    """Decode one pgoutput message; None for kinds that do not concern us.

    Raises:
        ProtocolError: A kind that protocol version 1 does not have.
    """
    kind = payload[0]
    decoder = _DECODERS.get(kind)
    if decoder is not None:
        return decoder(payload)
    if kind in _IGNORED:
        return None
    raise ProtocolError(f"unknown pgoutput message {payload[:1]!r}")
