"""The most memory that ``livesync-tui run`` takes: one very large transaction, very many tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import median

import psycopg

from benchmarks.equality import require_equal
from benchmarks.peers.livesync import Livesync
from benchmarks.peers.subscriber import PUBLICATION, wait_until_streaming
from benchmarks.plan import Plan
from benchmarks.resident import ResidentMemory
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import Database, ServerPair, drop_database, new_database, started_servers
from benchmarks.table import Target, each, progress, show
from benchmarks.waiting import wait_until

_LIMIT_MB = 300.0

_SENTINEL = "create table sentinel (number integer primary key)"


def run(plan: Plan) -> None:
    """Both situations."""
    rows = plan.size(5_000_000, 100_000)
    tables = plan.size(3_000, 30)
    large: list[float] = []
    many: list[float] = []
    with started_servers() as servers:
        for number in range(plan.rounds):
            large.append(_large_transaction(servers, rows))
            many.append(_many_tables(servers, tables))
            progress(f"memory: round {number + 1}: {large[-1]:.0f} MB, {many[-1]:.0f} MB")
    measured = {f"one transaction of {rows:,} rows": large, f"{tables:,} tables, one row each": many}
    show(
        "peak memory of livesync-tui run and its children, MB (10^6 bytes, resident)",
        ("", "median", "every round"),
        [(name, f"{median(values):.0f}", each(values, 0)) for name, values in measured.items()],
        [
            Target(f"peak memory, {name}", median(values), _LIMIT_MB, "at most", " MB").line()
            for name, values in measured.items()
        ],
    )


def _large_transaction(servers: ServerPair, rows: int) -> float:
    """Peak megabytes while a transaction inserts ``rows`` rows of about 100 bytes."""
    source = new_database(servers.source, "changing")
    source.execute(
        "create table grown (id integer primary key, bid integer, abalance integer, filler text)", _SENTINEL
    )

    def change() -> None:
        source.execute(
            "insert into grown select g, g % 10, 0, repeat('livesync', 10)"
            f" from generate_series(1, {rows}) as g"
        )

    return _peak(servers, source, ["grown"], change)


def _many_tables(servers: ServerPair, tables: int) -> float:
    """Peak megabytes while ``tables`` tables are copied and each is then changed once."""
    source = new_database(servers.source, "changing")
    names = [f"small_{number}" for number in range(tables)]
    with source.connect() as connection, connection.pipeline():
        for name in names:
            connection.execute(f"create table {name} (id integer primary key, value text)".encode())
            connection.execute(f"insert into {name} values (1, 'copied')".encode())
        connection.execute(_SENTINEL)

    def change() -> None:
        source.execute(*(f"insert into {name} values (2, 'followed')" for name in names))

    return _peak(servers, source, names, change)


def _peak(servers: ServerPair, source: Database, tables: Sequence[str], change: Callable[[], None]) -> float:
    """Peak megabytes from the start of the process until ``change`` is on the target and it has stopped."""
    source.execute(f"create publication {PUBLICATION} for tables in schema public")
    target = new_database(servers.target, "followed")
    restore_schema(schema_of(source, with_indexes=True), target)
    subscriber = Livesync(source, target, servers.directory)
    with closing(subscriber):
        subscriber.start()
        with ResidentMemory(subscriber.pid) as memory:
            subscriber.wait_until_ready()
            with source.connect() as connection:
                wait_until_streaming(connection, subscriber)
            change()
            source.execute("insert into sentinel values (1)")
            with target.connect() as connection:
                wait_until(lambda: _has_sentinel(subscriber, connection), "the changes on the target")
        require_equal(source, target, tables, subscriber.name)
        subscriber.drop()
    drop_database(servers.target, target.name)
    drop_database(servers.source, source.name)
    return memory.peak_bytes / 1e6


def _has_sentinel(subscriber: Livesync, target: psycopg.Connection) -> bool:
    subscriber.require_alive()
    return target.execute("select 1 from sentinel").fetchone() is not None
