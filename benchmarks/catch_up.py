"""How long a subscriber that was just started takes for its backlog."""

from __future__ import annotations

import psycopg

from benchmarks.peers.subscriber import Subscriber, wait_until_streaming
from benchmarks.waiting import wait_until


def seconds_to_catch_up(
    source: psycopg.Connection, target: psycopg.Connection, subscriber: Subscriber, number: int
) -> float:
    """Seconds from the start of streaming until the backlog ``number`` is on the target.

    Starting a process or a worker is not in it; decoding the WAL is. Both moments are asked for every 2 ms;
    for that the sessions are open before the subscriber starts.

    Raises:
        BenchmarkError: The subscriber failed, or did not get there in time.
    """
    started = wait_until_streaming(source, subscriber)
    ended = wait_until(
        lambda: _has_sentinel(target, number),
        f"{subscriber.name} to catch up",
        poll_seconds=0.002,
        timeout_seconds=600,
    )
    return ended - started


def _has_sentinel(target: psycopg.Connection, number: int) -> bool:
    found = target.execute("select 1 from sentinel where number = %s", (number,)).fetchone()
    return found is not None
