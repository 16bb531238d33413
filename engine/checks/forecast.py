"""How much WAL the source will have to keep, and how much room the target needs.

SQL tells nothing of free disk space, so these say what is needed and where the free space is seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.checks.source import SourceFacts
from engine.connection.explain import explain, message_of
from engine.errors import Side

ASSUMED_COPY_BYTES_PER_SECOND = 50 * 1024**2
"""A modest rate over a network, so that the copy is not forecast too short."""

LOOK_SECONDS = 1.0
"""Time between the two looks at least; a shorter one says little."""

_WORTH_A_WARNING_BYTES = 1024**3

_KEEP_IS_AMPLE_BYTES = 10 * 1024**3
"""A limit of this and four times the forecast is no cause for worry."""

_WRITTEN = """
select (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
             else pg_catalog.pg_current_wal_flush_lsn() end - '0/0')::int8
"""

_SIZE = "select pg_catalog.pg_database_size(pg_catalog.current_database())"


@dataclass(frozen=True, slots=True)
class WalLook:
    """One look at how much WAL has been written."""

    written_bytes: int | None
    """Since the cluster began, None where the server does not tell."""

    at_seconds: float
    """By the monotonic clock."""

    refusal: str = ""
    """What the server said instead."""


def look_at_wal(server: Server) -> WalLook:
    """See how much WAL the source has written.

    Raises:
        EngineError: The connection was lost.
    """
    try:
        row = server.session.execute(_WRITTEN).fetchone()
    except psycopg.Error as error:
        if server.session.closed:
            raise explain(error, Side.SOURCE, "reading its WAL position") from None
        return WalLook(None, time.monotonic(), message_of(error))
    assert row is not None  # A query without FROM has one row.
    return WalLook(int(str(row[0])), time.monotonic())


def database_size_bytes(server: Server) -> int:
    """The size of the session's database with indexes.

    Raises:
        EngineError: The server refused.
    """
    try:
        row = server.session.execute(_SIZE).fetchone()
    except psycopg.Error as error:
        raise explain(error, server.side, "reading the database's size") from None
    assert row is not None  # A query without FROM has one row.
    return int(str(row[0]))


def check_wal_forecast(
    server: Server, facts: SourceFacts, size_bytes: int, first: WalLook
) -> tuple[Finding, Finding]:
    """Forecast the WAL that a copy keeps, against the limit that the source has for it.

    Args:
        server: The source.
        facts: Its settings.
        size_bytes: Of its database.
        first: A look at its WAL, the longer ago the better.

    Raises:
        EngineError: The connection was lost.
    """
    time.sleep(max(0.0, first.at_seconds + LOOK_SECONDS - time.monotonic()))
    second = look_at_wal(server)
    if first.written_bytes is None or second.written_bytes is None:
        unknown = trouble(
            "wal_forecast",
            Side.SOURCE,
            Verdict.UNKNOWN,
            f"the rate of WAL cannot be measured: {first.refusal or second.refusal}",
            "While a table is copied the source keeps all WAL; it needs the disk space",
            remedy=by_hand(f"Watch the free disk space during the copy: {server.detected.provider.storage}"),
        )
        return unknown, _keep_size(server, facts, None)
    rate = (second.written_bytes - first.written_bytes) / (second.at_seconds - first.at_seconds)
    copy_seconds = size_bytes / ASSUMED_COPY_BYTES_PER_SECOND
    kept_bytes = int(rate * copy_seconds)
    return _forecast(server, rate, size_bytes, copy_seconds, kept_bytes), _keep_size(
        server, facts, kept_bytes
    )


def _forecast(server: Server, rate: float, size_bytes: int, copy_seconds: float, kept_bytes: int) -> Finding:
    found = (
        f"{size(rate)}/s of WAL now: a copy of {size(size_bytes)} at "
        f"{size(ASSUMED_COPY_BYTES_PER_SECOND)}/s takes {duration(copy_seconds)} and keeps {size(kept_bytes)}"
    )
    if kept_bytes < _WORTH_A_WARNING_BYTES:
        return ok("wal_forecast", Side.SOURCE, found)
    return trouble(
        "wal_forecast",
        Side.SOURCE,
        Verdict.WARNING,
        found,
        "While tables are copied the source keeps all WAL; when its disk is full, it stops",
        remedy=by_hand(
            f"Make sure that at least {size(2 * kept_bytes)} are free on the source's disk "
            f"({server.detected.provider.storage}), or copy when less is written"
        ),
    )


def _keep_size(server: Server, facts: SourceFacts, kept_bytes: int | None) -> Finding:
    check, limit = "max_slot_wal_keep_size", facts.slot_wal_keep_mb
    if limit == -1:
        return ok(check, Side.SOURCE, "unlimited")
    if kept_bytes is not None and limit * 1024**2 >= max(_KEEP_IS_AMPLE_BYTES, 4 * kept_bytes):
        return ok(check, Side.SOURCE, f"{limit} MB, forecast {size(kept_bytes)}")
    return trouble(
        check,
        Side.SOURCE,
        Verdict.WARNING,
        f"{limit} MB",
        "When the target falls behind by more WAL than this, during a long copy or while replication is "
        "stopped, the source drops the WAL and the migration has to start over",
        remedy=server.advisor.setting(check, -1).with_words(
            "-1 is without limit: then watch the free disk space. Or set it to more MB than are written "
            "during the whole copy"
        ),
    )


def check_target_room(server: Server, source_size_bytes: int) -> Finding:
    """What the target's disk has to take.

    Raises:
        EngineError: The target could not be read.
    """
    found = f"{size(source_size_bytes)} arrive, {size(database_size_bytes(server))} are there"
    if source_size_bytes < _WORTH_A_WARNING_BYTES:
        return ok("target_room", Side.TARGET, found)
    return trouble(
        "target_room",
        Side.TARGET,
        Verdict.UNKNOWN,
        f"{found}; SQL does not tell how much is free",
        "A target whose disk is full stops in mid-copy, and some providers then make it read-only",
        remedy=by_hand(
            f"Make sure that at least {size(1.5 * source_size_bytes)} are free (rows, indexes and the WAL of "
            f"writing them): {server.detected.provider.storage}"
        ),
    )


def size(size_bytes: float) -> str:
    """Bytes for reading, in powers of 1024 as PostgreSQL's own units."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        size_bytes /= 1024
        if size_bytes < 1024 or unit == "TB":
            break
    return f"{size_bytes:.1f} {unit}" if size_bytes < 100 else f"{size_bytes:.0f} {unit}"


def duration(seconds: float) -> str:
    """A time for reading, in the two largest units."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 60:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    return f"{int(hours)} h {int(minutes) % 60} min" if hours < 48 else f"{hours / 24:.1f} days"
