"""How a view and a host talk: one JSON document per message, each preceded by its length.

The view asks, the host answers, in turn. Frozen dataclasses travel as objects of their fields; what a field
holds is told by its annotation, so nothing that arrives can name a class of its own choosing.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import types
import typing
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar

Value = TypeVar("Value")

_LENGTH = struct.Struct(">I")

LONGEST_MESSAGE_BYTES = 256 * 1024 * 1024
"""A snapshot of 100,000 tables is about 60 MB; whatever is longer is no message of ours."""


class ConnectionClosedError(Exception):
    """The other end is gone, or speaks something else."""


def to_plain(value: object) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[Value], plain: Any) -> Value:
    """The value of type ``kind`` that :func:`to_plain` made ``plain`` of.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    return typing.cast(Value, _read(kind, plain))


@cache
def _fields(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        (
            field.name,
            hints[field.name],
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
    )


def _read(kind: Any, plain: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if plain is None:
            return None
        (other,) = (one for one in typing.get_args(kind) if one is not type(None))
        return _read(other, plain)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_read(item, one) for one in plain)
    if dataclasses.is_dataclass(kind):
        values = {
            name: _read(hint, plain[name])
            for name, hint, has_default in _fields(typing.cast(type, kind))
            if name in plain or not has_default
        }
        return typing.cast(Any, kind)(**values)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(plain)
    if kind is datetime:
        return datetime.fromisoformat(plain)
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind):
        raise TypeError(f"{type(plain).__name__} where {kind.__name__} is expected")
    return plain


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one message.

    Raises:
        ConnectionClosedError: The other end does not take it.
    """
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    try:
        connection.sendall(_LENGTH.pack(len(body)) + body)
    except OSError as error:
        raise ConnectionClosedError(error.strerror or str(error)) from None


def receive(connection: socket.socket) -> dict[str, Any]:
    """Wait for one message.

    Raises:
        ConnectionClosedError: The other end is gone, is silent for longer than the socket's timeout, or sent
            something else.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > LONGEST_MESSAGE_BYTES:
        raise ConnectionClosedError("too long a message")
    try:
        message = json.loads(_exactly(connection, length).decode("utf-8", "surrogatepass"))
    except ValueError:
        raise ConnectionClosedError("not JSON") from None
    if not isinstance(message, dict):
        raise ConnectionClosedError("not a message")
    return message


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        try:
            part = connection.recv(min(size, 1 << 20))
        except OSError as error:
            raise ConnectionClosedError(error.strerror or str(error)) from None
        if not part:
            raise ConnectionClosedError("closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
