"""The proof that the target has everything: a message of the source has to come out on the target.

A position of the log would be a guess: other databases move it, and an idle source may never get there. A
transactional message (PostgreSQL 9.28.6 ``pg_logical_emit_message``) is a commit like any other, also on a
source where nothing is written and in a stream of few tables. What was committed before it comes before it;
the engine tells when its transaction is durable on the target, and counts what comes after.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.cutover.outcome import FenceOutcome
from engine.errors import EngineError, Failure, Retry, Side
from engine.lsn import parse_lsn
from engine.replication.gather import FENCE_PREFIX
from engine.snapshot import FenceSeen, Phase, Snapshot
from engine.view import EngineView

_EMIT = "select pg_catalog.pg_logical_emit_message(true, %s, %s)::text"

_FLUSHED = "select pg_catalog.pg_current_wal_flush_lsn()::text"

_MESSAGES_SINCE = 140000
"""Older servers do not send such messages to us (pgoutput's option ``messages``)."""


@dataclass(frozen=True, slots=True)
class SentFence:
    """A fence that was committed on the source."""

    text: str
    statement: str
    """As it was run, for a transcript."""

    lsn: str
    """The end of its commit record at the earliest, as ``X/X``."""

    comes_through_stream: bool


def pass_fence(
    view: EngineView, source: Session, *, timeout_seconds: float, poll_seconds: float = 0.05
) -> FenceOutcome:
    """Write a fence on the source, and wait until it is durable on the target.

    Call it when the writers have stopped: what is committed later is behind the fence and not waited for.

    Args:
        view: The running engine.
        source: A session on the source.
        timeout_seconds: How long to wait.
        poll_seconds: Pause between two looks at the engine.

    Returns:
        What came first: the fence is there with every table synchronized, waiting is in vain (with a
        ``failure``: the engine has ended or is paused, a table is set aside, or a part of the schema is still
        to be built), or time is up.

    Raises:
        EngineError: The source refused the message.
    """
    began = time.monotonic()
    sent = send_fence(source)
    while True:
        snapshot = view.snapshot()
        seconds = time.monotonic() - began
        seen = None if snapshot is None else snapshot.fence(sent.text)
        reached = snapshot is not None and _is_reached(snapshot, sent, seen)
        failure = None if reached else _reason_to_give_up(snapshot)
        if reached or failure is not None or seconds >= timeout_seconds:
            return FenceOutcome(
                fence=sent.text,
                statement=sent.statement,
                fence_lsn=sent.lsn if seen is None else seen.lsn,
                applied_lsn=None if snapshot is None else snapshot.applied_lsn,
                reached=reached,
                comes_through_stream=sent.comes_through_stream,
                seconds=seconds,
                failure=failure,
            )
        time.sleep(poll_seconds)


def send_fence(source: Session) -> SentFence:
    """Commit a fence on the source.

    Raises:
        EngineError: The source refused.
    """
    text = f"fence {secrets.token_hex(8)}"
    try:
        source.execute(_EMIT, (FENCE_PREFIX, text))
        row = source.execute(_FLUSHED).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "writing the fence") from None
    if row is None:
        raise EngineError(Failure("The source told no position", side=Side.SOURCE))
    return SentFence(
        text,
        f"select pg_catalog.pg_logical_emit_message(true, '{FENCE_PREFIX}', '{text}')",
        str(row[0]),
        source.info.server_version >= _MESSAGES_SINCE,
    )


def _is_reached(snapshot: Snapshot, sent: SentFence, seen: FenceSeen | None) -> bool:
    if sent.comes_through_stream:
        has_come = seen is not None
    else:
        applied_lsn = snapshot.applied_lsn
        has_come = applied_lsn is not None and parse_lsn(applied_lsn) >= parse_lsn(sent.lsn)
    # The fence is the apply stream's; a table that is still copied or set aside is not in it.
    # A chunk that nobody has found yet is in neither.
    known_lsn = snapshot.chunks_known_lsn
    knows_chunks = known_lsn is None or parse_lsn(known_lsn) >= parse_lsn(sent.lsn)
    return has_come and knows_chunks and snapshot.all_tables_synchronized and not snapshot.objects_to_build


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
