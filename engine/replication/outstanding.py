"""Whether a slot holds any change between two positions, found out without moving it."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

from engine.connection.deadline import deadline
from engine.connection.endpoint import Endpoint
from engine.errors import ConnectionFailedError, Failure, Retry, Side
from engine.replication.protocol import Keepalive, decode_copy_data, final_lsn_of
from engine.replication.stream import ReplicationConnection

_CHANGES = (b"I", b"U", b"D", b"T")

_ANSWER_SECONDS = 1.0

_START_SECONDS = 60.0

_SILENCE_SECONDS = 900.0
"""A source may decode a large transaction that is not ours for minutes without a word."""


class _Look:
    """Takes messages until it is known."""

    def __init__(self, before_lsn: int) -> None:
        self._before_lsn = before_lsn
        self._in_transaction = False
        self.found: bool | None = None

    def take(self, message: bytes) -> bool:
        """Look at one CopyData message; whether it decides."""
        kind = message[25:26]
        if message[:1] == b"k":
            decoded = decode_copy_data(message)
            assert isinstance(decoded, Keepalive)
            # Between transactions the server has sent everything that was committed before wal_end.
            if not self._in_transaction and decoded.wal_end >= self._before_lsn:
                self.found = False
        elif kind == b"B":
            self._in_transaction = True
            if final_lsn_of(message) >= self._before_lsn:
                self.found = False
        elif kind == b"C":
            self._in_transaction = False
        elif kind in _CHANGES:
            self.found = True
        return self.found is not None


def is_anything_outstanding(
    source: Endpoint,
    slot_name: str,
    publications: Sequence[str],
    from_lsn: int,
    before_lsn: int,
    *,
    purpose: str,
) -> bool:
    """Whether a transaction that was committed from ``from_lsn`` on and before ``before_lsn`` changed a
    published row.

    Args:
        source: Where the slot is; nobody streams it.
        slot_name: A slot of pgoutput.
        publications: What counts as published.
        from_lsn: Where to begin.
        before_lsn: Where to end; not behind the end of the source's log.
        purpose: Shown in the source's list of sessions.

    Raises:
        EngineError: The source refused, for example because the slot is in use, or was lost.
        StreamEndedError: The source ended the stream.
    """
    look = _Look(before_lsn)
    with ReplicationConnection(source, purpose) as connection:
        with deadline(_START_SECONDS, connection.session):
            connection.start(slot_name, publications, from_lsn)
        heard_at = time.monotonic()
        while look.found is None:
            if connection.read_burst(look.take):
                heard_at = time.monotonic()
                continue
            if time.monotonic() - heard_at > _SILENCE_SECONDS:
                raise ConnectionFailedError(
                    Failure(
                        title=f"The source has sent nothing for {_SILENCE_SECONDS:.0f} s",
                        side=Side.SOURCE,
                        retry=Retry.MANUAL,
                    )
                )
            # On a quiet source nothing comes by itself that would tell how far it is.
            connection.send_status(from_lsn, reply_requested=True)
            select.select([connection], [], [], _ANSWER_SECONDS)
    return look.found
