"""What copies and then follows: livesync-tui and PostgreSQL's own subscription."""

from __future__ import annotations

from typing import Protocol

import psycopg

from benchmarks.servers import Database
from benchmarks.waiting import wait_until

PUBLICATION = "everything"
"""Made once on the source, for the schema public; every subscriber has a slot of its own."""

_SETTLE_SECONDS = 60.0


class Subscriber(Protocol):
    """One subscription of one target database to one source database, whose schema is already there."""

    @property
    def name(self) -> str:
        """The peer's name in tables."""

    @property
    def target(self) -> Database:
        """Where the rows go."""

    @property
    def slot_name(self) -> str:
        """Its slot on the source for the changes of all tables."""

    def start(self) -> None:
        """Begin or go on: the first time with the copy. Does not wait."""

    def wait_until_ready(self) -> float:
        """Wait until every table is copied and follows; the monotonic time of that, in seconds.

        Raises:
            BenchmarkError: A table was set aside, or the peer ended.
        """

    def require_alive(self) -> None:
        """Raise `BenchmarkError` when the peer has ended or reports an error."""

    def stop(self) -> None:
        """Stop in order; return when its walsender has gone."""

    def drop(self) -> None:
        """Stop if need be, and remove its slots and its state."""


def wait_until_streaming(source: psycopg.Connection, subscriber: Subscriber) -> float:
    """Wait until the walsender holds the subscriber's slot; the monotonic time of that, in seconds."""
    return wait_until(
        lambda: _is_streaming(source, subscriber.slot_name),
        f"{subscriber.name} to start streaming",
        poll_seconds=0.002,
        timeout_seconds=60,
    )


def wait_until_idle(source: psycopg.Connection, slot_name: str) -> None:
    """Wait until no walsender holds the slot."""
    wait_until(lambda: not _is_streaming(source, slot_name), f"slot {slot_name} to be free")


def _is_streaming(source: psycopg.Connection, slot_name: str) -> bool:
    row = source.execute(
        "select active from pg_catalog.pg_replication_slots where slot_name = %s", (slot_name,)
    ).fetchone()
    return row is not None and row[0]


def settle(source: psycopg.Connection, subscriber: Subscriber) -> None:
    """Wait until the slot's next start will read none of the WAL written so far.

    A walsender that starts reads from ``restart_lsn``, also what was confirmed long ago. Unless that position
    moves on, a turn would pay for decoding the turn before it.
    """
    row = source.execute("select pg_catalog.pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    fence = row[0]

    def is_past() -> bool:
        subscriber.require_alive()
        # Positions move only when running transactions are logged and something commits after that.
        source.execute("select pg_catalog.pg_log_standby_snapshot()")
        source.execute("insert into tick default values")
        at = source.execute(
            "select restart_lsn >= %s::pg_lsn from pg_catalog.pg_replication_slots where slot_name = %s",
            (fence, subscriber.slot_name),
        ).fetchone()
        return at is not None and at[0]

    wait_until(
        is_past,
        f"{subscriber.name} to confirm what it has applied",
        poll_seconds=0.1,
        timeout_seconds=_SETTLE_SECONDS,
    )
