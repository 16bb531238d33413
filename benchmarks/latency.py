"""From a commit's return on the source until its row is seen on the target, idle and under a steady load.

One thread commits a row every 50 ms and notes when COMMIT returned; another asks the target every millisecond
which rows it has. Both use this machine's monotonic clock. The load is written by the source server itself:
transactions of ten changes, five inserts and five updates, on a schedule it does not fall behind of.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import psycopg

from benchmarks.equality import require_equal
from benchmarks.errors import BenchmarkError
from benchmarks.peers.livesync import Livesync
from benchmarks.peers.native import NativeSubscription
from benchmarks.peers.subscriber import PUBLICATION, Subscriber, wait_until_streaming
from benchmarks.plan import Plan, turns
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import Database, ServerPair, drop_database, new_database, started_servers
from benchmarks.table import Target, percentile, progress, show

_RATE = 20_000
"""Changes a second of the steady load."""

_CHANGES_PER_TRANSACTION = 10
_PAUSE_SECONDS = 0.05
_POLL_SECONDS = 0.001
_LONGEST_SECONDS = 120.0

_LOAD_P99_MILLISECONDS = 1000.0
_IDLE_P99_MILLISECONDS = 100.0

_TABLES = ("probe", "loaded")

_LOAD = f"""
create procedure load(seconds integer) language plpgsql as $$
declare
    started timestamptz := clock_timestamp();
    transactions integer := seconds * {_RATE // _CHANGES_PER_TRANSACTION};
    early interval;
begin
    for k in 0 .. transactions - 1 loop
        early := started + k * {_CHANGES_PER_TRANSACTION}.0 / {_RATE} * interval '1 second'
            - clock_timestamp();
        if early > interval '1 millisecond' then
            perform pg_sleep(extract(epoch from early));
        end if;
        insert into loaded (value, filler) select k, repeat('livesync', 10) from generate_series(1, 5);
        update loaded set value = value + 1
         where id = any (array(
             select 1 + (k * 5 + i) * 7919::bigint % 100000 from generate_series(1, 5) as i));
        commit;
    end loop;
end
$$
"""


@dataclass(slots=True)
class _Latencies:
    """Milliseconds, of every round."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)

    def add(self, milliseconds: Sequence[float]) -> None:
        """Take up one round."""
        self.p50.append(percentile(milliseconds, 50))
        self.p99.append(percentile(milliseconds, 99))
        self.longest.append(max(milliseconds))


_Measured = dict[tuple[str, str], _Latencies]
"""By section and peer."""

_IDLE = "single commits, idle"
_LOADED = f"single commits under {_RATE:,} changes a second"


def run(plan: Plan) -> None:
    """Both sections for both peers."""
    commits = plan.size(200, 20)
    load_seconds = plan.size(20, 2)
    measured: _Measured = {}
    rates: list[float] = []
    rounds = plan.rounds()
    peers = (Livesync.name, NativeSubscription.name)
    with started_servers() as servers:
        for number, order in turns(peers, rounds):
            for name in order:
                progress(f"latency: round {number}: {name}")
                rates.append(_turn(servers, name, commits, load_seconds, measured))
    rows = [
        (
            f"{section}: {name}",
            *(f"{median(values):.1f}" for values in (found.p50, found.p99, found.longest)),
            " ".join(f"{value:.1f}" for value in found.p99),
        )
        for section in (_IDLE, _LOADED)
        for name in peers
        for found in [measured[section, name]]
    ]
    own_idle, own_loaded = measured[_IDLE, Livesync.name], measured[_LOADED, Livesync.name]
    show(
        f"latency in ms, median of {rounds}; {commits} commits idle, {load_seconds} s under load",
        ("", "p50", "p99", "longest", "p99 of every round"),
        rows,
        [
            f"load that was written: {min(rates):,.0f} to {max(rates):,.0f} changes a second"
            + ("" if min(rates) > 0.95 * _RATE else "; TOO SLOW, this machine cannot write the load"),
            Target(
                "livesync-tui's p99 under load",
                median(own_loaded.p99),
                _LOAD_P99_MILLISECONDS,
                "at most",
                " ms",
            ).line(),
            Target(
                "livesync-tui's p99 when idle", median(own_idle.p99), _IDLE_P99_MILLISECONDS, "at most", " ms"
            ).line(),
        ],
    )


def _turn(servers: ServerPair, name: str, commits: int, load_seconds: int, measured: _Measured) -> float:
    """Both sections for one peer; the load's changes a second."""
    source = new_database(servers.source, "changing")
    source.execute(
        "create table probe (id integer primary key)",
        "create table loaded (id bigserial primary key, value integer, filler text)",
        "insert into loaded (value, filler) select 0, repeat('livesync', 10) from generate_series(1, 100000)",
        _LOAD,
        "vacuum analyze",
        f"create publication {PUBLICATION} for tables in schema public",
    )
    target = new_database(servers.target, "followed")
    restore_schema(schema_of(source, with_indexes=True), target)
    with ExitStack() as stack:
        subscriber: Subscriber
        if name == Livesync.name:
            ours = Livesync(source, target, servers.directory)
            stack.callback(ours.close)
            subscriber = ours
        else:
            subscriber = NativeSubscription(source, target)
        subscriber.start()
        subscriber.wait_until_ready()
        with source.connect() as connection:
            wait_until_streaming(connection, subscriber)
        servers.checkpoint()
        measured.setdefault((_IDLE, name), _Latencies()).add(
            _latencies(source, target, range(1, commits + 1))
        )
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(_load, source, load_seconds)
            probes = range(commits + 1, commits + 1 + int(load_seconds / _PAUSE_SECONDS))
            measured.setdefault((_LOADED, name), _Latencies()).add(_latencies(source, target, probes))
            rate = load.result()
        # One more commit: when it is there, everything before it is.
        _latencies(source, target, range(probes.stop, probes.stop + 1))
        require_equal(source, target, _TABLES, name)
        subscriber.drop()
    drop_database(servers.target, target.name)
    drop_database(servers.source, source.name)
    return rate


def _load(source: Database, seconds: int) -> float:
    """Write the steady load; the changes a second it came to."""
    with source.connect() as connection:
        connection.execute("set synchronous_commit = off")
        # A plan for any parameters, made once.
        connection.execute("set plan_cache_mode = force_generic_plan")
        started = time.monotonic()
        connection.execute(f"call load({int(seconds)})".encode())
        return seconds * _RATE / (time.monotonic() - started)


def _latencies(source: Database, target: Database, probes: range) -> list[float]:
    """Commit the rows ``probes`` one by one; milliseconds until each was seen."""
    committed: dict[int, float] = {}
    seen: dict[int, float] = {}
    give_up = threading.Event()
    with target.connect() as reading, source.connect() as writing, ThreadPoolExecutor(1) as pool:
        reader = pool.submit(_watch, reading, probes, seen, give_up)
        try:
            begun = time.monotonic()
            for number, probe in enumerate(probes):
                time.sleep(max(0.0, begun + number * _PAUSE_SECONDS - time.monotonic()))
                writing.execute("insert into probe values (%s)", (probe,))
                committed[probe] = time.monotonic()
        except BaseException:
            give_up.set()
            raise
        reader.result()
    # A row may be seen before the writer's thread has noted that COMMIT returned.
    return [max(0.0, seen[probe] - committed[probe]) * 1000 for probe in probes]


def _watch(
    target: psycopg.Connection, probes: range, seen: dict[int, float], give_up: threading.Event
) -> None:
    """Note when each of ``probes`` is first seen; they come in order."""
    following = probes.start
    deadline = time.monotonic() + len(probes) * _PAUSE_SECONDS + _LONGEST_SECONDS
    while following < probes.stop and not give_up.is_set():
        row = target.execute("select max(id) from probe").fetchone()
        now = time.monotonic()
        newest = 0 if row is None or row[0] is None else row[0]
        for probe in range(following, newest + 1):
            seen[probe] = now
        following = max(following, newest + 1)
        if now > deadline:
            raise BenchmarkError(
                f"Row {following} was not seen on the target within {_LONGEST_SECONDS:.0f} s"
            )
        time.sleep(_POLL_SECONDS)
