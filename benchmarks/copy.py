"""Copying a whole database, against four other ways to do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.cpu import Cost
from benchmarks.datasets.mixed import fill_mixed
from benchmarks.datasets.pgbench import fill_pgbench
from benchmarks.equality import Sums, require_sums, table_sums
from benchmarks.errors import PeerSkippedError
from benchmarks.peers.copying import (
    CopyPeer,
    DumpRestore,
    LivesyncCopy,
    NativeCopy,
    Pgcopydb,
    PsqlPipes,
)
from benchmarks.peers.subscriber import PUBLICATION
from benchmarks.plan import Plan, turns
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import Database, ServerPair, drop_database, new_database, started_servers
from benchmarks.table import Target, each, progress, ratio, seconds, show
from livesync_tui import output

_TO_PGCOPYDB = 0.75
_TO_PIPES = 0.85

_TABLES = """
select c.relname from pg_catalog.pg_class as c
 where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
 order by pg_catalog.pg_table_size(c.oid) desc
"""

_SIZE = """
select pg_catalog.pg_size_pretty(sum(pg_catalog.pg_table_size(c.oid))) || ' without indexes, '
       || pg_catalog.pg_size_pretty(sum(pg_catalog.pg_total_relation_size(c.oid))) || ' with'
  from pg_catalog.pg_class as c
 where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
"""


_Costs = dict[str, list[Cost]]
"""Of every round, by peer."""


@dataclass(frozen=True, slots=True)
class _Dataset:
    title: str
    database: Database
    tables: Sequence[str]
    sums: Sums


def run(plan: Plan) -> None:
    """Both databases, with indexes and rows alone."""
    with started_servers() as servers:
        scale = plan.size(50, 1)
        mixed_rows = plan.size(500_000, 20_000)
        pgbench = new_database(servers.source, "pgbench")
        fill_pgbench(pgbench, scale)
        mixed = new_database(servers.source, "mixed")
        fill_mixed(mixed, mixed_rows)
        for dataset in (
            _described(f"pgbench, scale {scale}", pgbench),
            _described("ten tables with TOAST", mixed),
        ):
            _warm_up(servers, dataset)
            _with_indexes(plan, servers, dataset)
            _rows_alone(plan, servers, dataset)


def _warm_up(servers: ServerPair, dataset: _Dataset) -> None:
    """A turn that is not measured: it makes the WAL files that every later one finds and writes again."""
    target = new_database(servers.target, "copied")
    DumpRestore().copy(dataset.database, target, dataset.tables, servers.directory)
    drop_database(servers.target, target.name)


def _described(title: str, database: Database) -> _Dataset:
    database.execute("vacuum analyze", f"create publication {PUBLICATION} for tables in schema public")
    with database.connect() as connection:
        tables = [row[0] for row in connection.execute(_TABLES)]
        size = connection.execute(_SIZE).fetchone()
    assert size is not None
    sums = table_sums(database, tables)
    rows = sum(rows for rows, _ in sums.values())
    return _Dataset(f"{title}: {rows:,} rows, {size[0]}", database, tables, sums)


def _with_indexes(plan: Plan, servers: ServerPair, dataset: _Dataset) -> None:
    pgcopydb = Pgcopydb()
    ours = LivesyncCopy(rows_alone=False)
    peers: list[CopyPeer] = [ours, NativeCopy(), pgcopydb, DumpRestore()]
    compared = ours
    if pgcopydb.vacuums:
        compared = LivesyncCopy(rows_alone=False, vacuums=True)
        peers.append(compared)
    measured = _measure(plan, servers, dataset, peers, with_indexes=True)
    _show(
        f"copy of {dataset.title}; schema, rows and indexes into an empty database",
        measured,
        Target(
            "livesync-tui's time to pgcopydb's",
            _relation(measured, compared, pgcopydb),
            _TO_PGCOPYDB,
            "at most",
        ),
    )


def _rows_alone(plan: Plan, servers: ServerPair, dataset: _Dataset) -> None:
    pipes = PsqlPipes()
    ours = LivesyncCopy(rows_alone=True)
    measured = _measure(plan, servers, dataset, [ours, pipes], with_indexes=False)
    _show(
        f"copy of {dataset.title}; rows alone into tables without indexes",
        measured,
        Target("livesync-tui's time to the pipes'", _relation(measured, ours, pipes), _TO_PIPES, "at most"),
    )
    _show_cpu(dataset, measured)


def _measure(
    plan: Plan, servers: ServerPair, dataset: _Dataset, peers: Sequence[CopyPeer], *, with_indexes: bool
) -> _Costs:
    """Every round by peer, those that were skipped left out."""
    measured: _Costs = {}
    skipped: set[str] = set()
    for number, order in turns(peers, plan.rounds()):
        for peer in order:
            if peer.name in skipped:
                continue
            target = new_database(servers.target, "copied")
            if not with_indexes:
                restore_schema(schema_of(dataset.database, with_indexes=False), target)
            servers.checkpoint()
            try:
                cost = peer.copy(dataset.database, target, dataset.tables, servers.directory)
            except PeerSkippedError as reason:
                output.line(f"skipped: {reason}")
                skipped.add(peer.name)
                continue
            progress(f"copy: round {number}: {peer.name} {cost.seconds:.2f} s")
            require_sums(dataset.sums, table_sums(target, dataset.tables), peer.name)
            drop_database(servers.target, target.name)
            measured.setdefault(peer.name, []).append(cost)
    return {peer.name: measured[peer.name] for peer in peers if peer.name in measured}


def _seconds(costs: Sequence[Cost]) -> list[float]:
    return [cost.seconds for cost in costs]


def _relation(measured: _Costs, ours: CopyPeer, other: CopyPeer) -> float | None:
    if other.name not in measured:
        return None
    return median(_seconds(measured[ours.name])) / median(_seconds(measured[other.name]))


def _show(title: str, measured: _Costs, target: Target) -> None:
    own = median(_seconds(measured["livesync-tui"]))
    show(
        title,
        ("", "median s", "every round", "livesync-tui's time to it"),
        [
            (name, seconds(values), each(values), ratio(own / median(values)))
            for name, costs in measured.items()
            for values in [_seconds(costs)]
        ],
        [target.line()],
    )


def _show_cpu(dataset: _Dataset, measured: _Costs) -> None:
    rows = []
    for name, costs in measured.items():
        cpu = [cost.cpu for cost in costs if cost.cpu is not None]
        if not cpu:
            output.line("skipped: CPU seconds cannot be measured here: there is no /proc")
            return
        rows.append(
            (
                name,
                seconds([spent.programs for spent in cpu]),
                seconds([spent.source for spent in cpu]),
                seconds([spent.target for spent in cpu]),
                seconds([spent.together for spent in cpu]),
            )
        )
    show(
        f"cpu seconds of one copy, user and system, medians; rows alone of {dataset.title}",
        ("", "programs", "source server", "target server", "together"),
        rows,
    )
