"""The most memory that ``livesync-tui run`` takes: one very large transaction, very many tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

import psycopg

from benchmarks.equality import require_equal
from benchmarks.peers.livesync import Livesync
from benchmarks.peers.subscriber import PUBLICATION, wait_until_streaming
from benchmarks.plan import Plan
from benchmarks.resident import ResidentMemory
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import Database, ServerPair, drop_database, new_database, started_servers
from benchmarks.table import Target, each, progress, seconds, show
from benchmarks.waiting import wait_until

_LIMIT_MB = 300.0

_SENTINEL = "create table sentinel (number integer primary key)"


@dataclass(frozen=True, slots=True)
class _Turn:
    """One run of the process."""

    peak_megabytes: float

    copied_seconds: float
    """From its start until every table is in state r."""

    caught_up_seconds: float
    """From the change's commit until it is on the target."""


def run(plan: Plan) -> None:
    """Both situations."""
    rows = plan.size(5_000_000, 100_000)
    tables = plan.size(3_000, 30)
    large: list[_Turn] = []
    many: list[_Turn] = []
    # What is measured is a high-water mark: it hardly changes from one time to the next.
    rounds = plan.rounds(usual=1)
    with started_servers() as servers:
        for number in range(rounds):
            large.append(_large_transaction(servers, rows))
            progress(f"memory: round {number + 1}: large transaction {large[-1].peak_megabytes:.0f} MB")
            many.append(_many_tables(servers, tables))
            progress(f"memory: round {number + 1}: many tables {many[-1].peak_megabytes:.0f} MB")
    measured = {f"one transaction of {rows:,} rows": large, f"{tables:,} tables, one row each": many}
    peaks = {name: [turn.peak_megabytes for turn in took] for name, took in measured.items()}
    show(
        f"peak memory of livesync-tui run and its children, MB (10^6 bytes, resident), rounds: {rounds}",
        ("", "median", "every round", "copied after s", "caught up after s"),
        [
            (
                name,
                f"{median(peaks[name]):.0f}",
                each(peaks[name], 0),
                seconds([turn.copied_seconds for turn in took]),
                seconds([turn.caught_up_seconds for turn in took]),
            )
            for name, took in measured.items()
        ],
        [
            Target(f"peak memory, {name}", median(values), _LIMIT_MB, "at most", " MB").line()
            for name, values in peaks.items()
        ],
    )


def _large_transaction(servers: ServerPair, rows: int) -> _Turn:
    """A run during which a transaction inserts ``rows`` rows of about 100 bytes."""
    source = new_database(servers.source, "changing")
    source.execute(
        "create table grown (id integer primary key, bid integer, abalance integer, filler text)", _SENTINEL
    )

    def change() -> None:
        source.execute(
            "insert into grown select g, g % 10, 0, repeat('livesync', 10)"
            f" from generate_series(1, {rows}) as g"
        )

    return _run(servers, source, ["grown"], change)


def _many_tables(servers: ServerPair, tables: int) -> _Turn:
    """A run during which ``tables`` tables are copied and each is then changed once."""
    source = new_database(servers.source, "changing")
    names = [f"small_{number}" for number in range(tables)]
    with source.connect() as connection, connection.pipeline():
        for name in names:
            connection.execute(f"create table {name} (id integer primary key, value text)".encode())
            connection.execute(f"insert into {name} values (1, 'copied')".encode())
        connection.execute(_SENTINEL)

    def change() -> None:
        source.execute(*(f"insert into {name} values (2, 'followed')" for name in names))

    return _run(servers, source, names, change)


def _run(servers: ServerPair, source: Database, tables: Sequence[str], change: Callable[[], None]) -> _Turn:
    """Run it until the rows and then ``change`` are on the target."""
    source.execute(f"create publication {PUBLICATION} for tables in schema public")
    target = new_database(servers.target, "followed")
    restore_schema(schema_of(source, with_indexes=True), target)
    subscriber = Livesync(source, target, servers.directory)
    with closing(subscriber):
        started = time.monotonic()
        subscriber.start()
        with ResidentMemory(subscriber.pid) as memory:
            ready = subscriber.wait_until_ready()
            with source.connect() as connection:
                wait_until_streaming(connection, subscriber)
            change()
            changed = time.monotonic()
            source.execute("insert into sentinel values (1)")
            with target.connect() as connection:
                caught_up = wait_until(
                    lambda: _has_sentinel(subscriber, connection), "the changes on the target"
                )
        require_equal(source, target, tables, subscriber.name)
        subscriber.drop()
    drop_database(servers.target, target.name)
    drop_database(servers.source, source.name)
    return _Turn(memory.peak_bytes / 1e6, ready - started, caught_up - changed)


def _has_sentinel(subscriber: Livesync, target: psycopg.Connection) -> bool:
    subscriber.require_alive()
    return target.execute("select 1 from sentinel").fetchone() is not None
