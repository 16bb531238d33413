"""Waits until everything the source wrote before now is durable on the target."""

from __future__ import annotations

import time

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.cutover.outcome import DrainOutcome
from engine.errors import EngineError, Failure, Retry, Side
from engine.lsn import format_lsn, parse_lsn
from engine.snapshot import Phase, Snapshot
from engine.view import EngineView

_FENCE = """
select pg_catalog.pg_current_wal_insert_lsn()::text,
       pg_catalog.current_setting('wal_block_size')::int8,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))
"""

_PAGE_HEADER_BYTES = 24
_SEGMENT_HEADER_BYTES = 40


def drain(
    view: EngineView, source: Session, *, timeout_seconds: float, poll_seconds: float = 0.05
) -> DrainOutcome:
    """Take the source's write position as the fence, once, and wait until the target has applied it.

    Call it when the writers have stopped: what is written later is behind the fence and not waited for.

    Args:
        view: The running engine.
        source: A session on the source.
        timeout_seconds: How long to wait.
        poll_seconds: Pause between two looks at the engine.

    Returns:
        What came first: the fence is reached with every table synchronized, waiting is in vain (with a
        ``failure``: the engine has ended or is paused, a table is set aside, or a part of the schema is still
        to be built), or time is up.

    Raises:
        EngineError: The source's position could not be read.
    """
    fence = _read_fence(source)
    began = time.monotonic()
    while True:
        snapshot = view.snapshot()
        seconds = time.monotonic() - began
        applied_lsn = snapshot.applied_lsn if snapshot is not None else None
        reached = (
            snapshot is not None
            and applied_lsn is not None
            and parse_lsn(applied_lsn) >= fence
            # The position is the apply stream's; a table that is still copied or set aside is not in it.
            and snapshot.all_tables_synchronized
            and not snapshot.objects_to_build
        )
        failure = None if reached else _reason_to_give_up(snapshot)
        if reached or failure is not None or seconds >= timeout_seconds:
            return DrainOutcome(format_lsn(fence), applied_lsn, reached, seconds, failure)
        time.sleep(poll_seconds)


def _read_fence(source: Session) -> int:
    try:
        row = source.execute(_FENCE).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the write position") from None
    if row is None:
        raise EngineError(Failure("The source told no write position", side=Side.SOURCE))
    insert_lsn, block_bytes, segment_bytes = parse_lsn(str(row[0])), int(str(row[1])), int(str(row[2]))
    # At the start of a page the insert position is already past the page's header, while nothing is flushed
    # beyond the page before: an idle source would never get there.
    header_bytes = _SEGMENT_HEADER_BYTES if insert_lsn % segment_bytes < block_bytes else _PAGE_HEADER_BYTES
    return insert_lsn - header_bytes if insert_lsn % block_bytes == header_bytes else insert_lsn


def _reason_to_give_up(snapshot: Snapshot | None) -> Failure | None:
    """Why waiting for the engine is in vain, or None while it may still get there."""
    if snapshot is None:
        return None
    if snapshot.tables_set_aside:
        names = ", ".join(table.source_name for table in snapshot.tables_set_aside)
        return Failure(
            f"Not everything can be applied: set aside are {names}",
            detail=snapshot.tables_set_aside[0].last_error or "",
            hint="Retry these tables, or take them out of the publication",
            retry=Retry.MANUAL,
        )
    if snapshot.objects_to_build:
        return Failure(
            f"The target still lacks {snapshot.objects_to_build} indexes and constraints of the schema",
            hint="Wait until they are built; writes can go on meanwhile",
            retry=Retry.MANUAL,
        )
    if snapshot.phase is Phase.PAUSED:
        return Failure("The engine is paused, so nothing is applied", hint="Resume it", retry=Retry.MANUAL)
    if snapshot.phase not in (Phase.FAILED, Phase.STOPPED):
        return None
    return snapshot.failure or Failure(
        "The engine ended before everything was applied",
        hint="Start it again; it goes on where it stopped",
        retry=Retry.MANUAL,
    )
