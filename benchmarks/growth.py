"""How the cost of livesync-tui grows: with rows, tables, workers and the size of transactions; no peers.

A cost per row, table or change that rises from one size to the next would be something that is not linear.
Copies are measured from the start of the process until every table is in state r, so the start is in them;
backlogs as ``apply`` measures them. ``memory`` says how long 3,000 tables take.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from benchmarks.backlog import Workload, create_tables, inserts, write_backlog
from benchmarks.catch_up import seconds_to_catch_up
from benchmarks.equality import require_equal
from benchmarks.peers.livesync import Livesync
from benchmarks.peers.subscriber import PUBLICATION, settle
from benchmarks.plan import Plan
from benchmarks.resident import ResidentMemory
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import Database, ServerPair, drop_database, new_database, started_servers
from benchmarks.table import each, progress, show

_TABLES_OF_THE_SET = 8
"""As many as the most workers measured: each can have one."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one turn."""

    seconds: float
    peak_megabytes: float


@dataclass(frozen=True, slots=True)
class _Copied:
    """What a turn copies, and by how many workers; None: as many as by default."""

    source: Database
    tables: Sequence[str]
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class _Unit:
    """What a cost is divided by."""

    name: str
    """``µs a row``"""

    per_second: float
    """How many of the time unit in ``name`` make a second."""

    count: Mapping[int, int]
    """How many rows, tables or changes each size means."""


_Costs = dict[int, list[_Cost]]
"""Of every round, by size."""


def run(plan: Plan) -> None:
    """All four tables."""
    rounds = plan.rounds(usual=2)
    with started_servers() as servers:
        _with_rows(plan, servers, rounds)
        _with_tables(plan, servers, rounds)
        _with_workers(plan, servers, rounds)
        _with_transaction_size(plan, servers, rounds)


def _with_rows(plan: Plan, servers: ServerPair, rounds: int) -> None:
    sizes = [plan.size(rows, rows // 50) for rows in (500_000, 1_000_000, 2_000_000, 4_000_000)]
    sources = {rows: _source(servers, f"rows_{rows}", {"grown": rows}) for rows in sizes}
    _show(
        "copy of one table, by its rows",
        "rows",
        _copies(servers, "rows", sources, rounds),
        _Unit("µs a row", 1e6, {rows: rows for rows in sizes}),
    )


def _with_tables(plan: Plan, servers: ServerPair, rounds: int) -> None:
    sizes = [plan.size(tables, tables // 5) for tables in (25, 50, 100, 200)]
    sources = {
        tables: _source(servers, f"tables_{tables}", {f"small_{number}": 1 for number in range(tables)})
        for tables in sizes
    }
    _show(
        "copy of tables of one row each, by their number",
        "tables",
        _copies(servers, "tables", sources, rounds),
        _Unit("ms a table", 1e3, {tables: tables for tables in sizes}),
    )


def _with_workers(plan: Plan, servers: ServerPair, rounds: int) -> None:
    rows = plan.size(2_000_000, 40_000)
    sizes = (1, 2, 4, 8)
    parts = {f"part_{number}": rows // _TABLES_OF_THE_SET for number in range(_TABLES_OF_THE_SET)}
    copied = _source(servers, "parts", parts)
    sources = {workers: _Copied(copied.source, copied.tables, workers) for workers in sizes}
    _show(
        f"copy of {_TABLES_OF_THE_SET} tables of {rows:,} rows in all, by --table-sync-workers",
        "workers",
        _copies(servers, "workers", sources, rounds),
        _Unit("µs a row", 1e6, {workers: rows for workers in sizes}),
    )


def _with_transaction_size(plan: Plan, servers: ServerPair, rounds: int) -> None:
    changes = plan.size(300_000, 6_000)
    sizes = [size for size in (1, 10, 100, 1_000, 10_000) if size < changes] + [changes]
    costs: _Costs = {size: [] for size in sizes}
    for number in range(rounds):
        for size, cost in _backlogs(servers, sizes, changes):
            _take(costs, "changes a transaction", number, size, cost)
    _show(
        f"catch-up over {changes:,} inserts, by the changes of one transaction",
        "changes a transaction",
        costs,
        _Unit("µs a change", 1e6, {size: changes for size in sizes}),
    )


def _source(servers: ServerPair, name: str, tables: Mapping[str, int]) -> _Copied:
    """A published database of ``tables``, each with so many rows shaped as those of ``pgbench_accounts``."""
    source = new_database(servers.source, name)
    with source.connect() as connection, connection.pipeline():
        for table, rows in tables.items():
            connection.execute(
                f"create table {table} (id integer, bid integer, abalance integer, filler text)".encode()
            )
            connection.execute(
                f"insert into {table} select g, g % 10, 0, repeat('livesync', 10)"
                f" from generate_series(1, {rows}) as g".encode()
            )
            connection.execute(f"alter table {table} add primary key (id)".encode())
    source.execute("vacuum analyze", f"create publication {PUBLICATION} for tables in schema public")
    return _Copied(source, list(tables))


def _copies(servers: ServerPair, what: str, sources: Mapping[int, _Copied], rounds: int) -> _Costs:
    """Copy each of ``sources``, all of them in each round; then drop them."""
    costs: _Costs = {size: [] for size in sources}
    for number in range(rounds):
        for size, copied in sources.items():
            _take(costs, what, number, size, _copy(servers, copied))
    for name in {copied.source.name for copied in sources.values()}:
        drop_database(servers.source, name)
    return costs


def _copy(servers: ServerPair, copied: _Copied) -> _Cost:
    target = new_database(servers.target, "copied")
    restore_schema(schema_of(copied.source, with_indexes=True), target)
    servers.checkpoint()
    with closing(Livesync(copied.source, target, servers.directory, workers=copied.workers)) as subscriber:
        started = time.monotonic()
        subscriber.start()
        with ResidentMemory(subscriber.pid) as memory:
            ready = subscriber.wait_until_ready()
        subscriber.drop()
    require_equal(copied.source, target, copied.tables, subscriber.name)
    drop_database(servers.target, target.name)
    return _Cost(ready - started, memory.peak_bytes / 1e6)


def _backlogs(servers: ServerPair, sizes: Sequence[int], changes: int) -> Iterator[tuple[int, _Cost]]:
    """Catch up with ``changes`` inserts into an empty table, for each number of changes a transaction."""
    workloads = {
        size: Workload(f"{size:,} a transaction", f"inserts_{size}", size, inserts(f"inserts_{size}"))
        for size in sizes
    }
    source = new_database(servers.source, "changing")
    create_tables(source, 0, list(workloads.values()))
    target = new_database(servers.target, "followed")
    restore_schema(schema_of(source, with_indexes=True), target)
    with (
        closing(Livesync(source, target, servers.directory)) as subscriber,
        source.connect() as writer,
    ):
        subscriber.start()
        subscriber.wait_until_ready()
        settle(writer, subscriber)
        subscriber.stop()
        for number, (size, workload) in enumerate(workloads.items()):
            write_backlog(source, workload, 0, changes, number)
            servers.checkpoint()
            with target.connect() as reader:
                subscriber.start()
                with ResidentMemory(subscriber.pid) as memory:
                    taken = seconds_to_catch_up(writer, reader, subscriber, number)
            settle(writer, subscriber)
            subscriber.stop()
            require_equal(source, target, [workload.table], subscriber.name)
            yield size, _Cost(taken, memory.peak_bytes / 1e6)
        subscriber.drop()
    drop_database(servers.target, target.name)
    drop_database(servers.source, source.name)


def _take(costs: _Costs, what: str, number: int, size: int, cost: _Cost) -> None:
    progress(f"growth: round {number + 1}: {what} {size:,}: {cost.seconds:.2f} s")
    costs[size].append(cost)


def _show(title: str, what: str, costs: _Costs, unit: _Unit) -> None:
    """A line for each size, then what one unit costs at the smallest and at the largest."""
    taken = {size: [turn.seconds for turn in turns] for size, turns in costs.items()}
    of_one = {
        size: f"{median(values) * unit.per_second / unit.count[size]:.2f}" for size, values in taken.items()
    }
    smallest, *_, largest = costs
    show(
        title,
        (what, "median s", "every round", unit.name, "a second", "peak MB"),
        [
            (
                f"{size:,}",
                f"{median(values):.2f}",
                each(values),
                of_one[size],
                f"{unit.count[size] / median(values):,.0f}",
                f"{median(turn.peak_megabytes for turn in costs[size]):.0f}",
            )
            for size, values in taken.items()
        ],
        [f"{unit.name}: {of_one[smallest]} at {smallest:,} {what}, {of_one[largest]} at {largest:,}"],
    )
