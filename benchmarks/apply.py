"""Catching up with a backlog: livesync-tui and PostgreSQL's own subscription, eight kinds of changes.

Both subscribers are in sync, then stopped. The source writes the backlog. Then one after the other is started
and measured from the moment its walsender holds the slot until the last transaction of the backlog, one row
in the table ``sentinel``, is seen on its target; both are asked every 2 ms. Starting a process or a worker is
not in it; decoding the WAL is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.backlog import WORKLOADS, Workload, create_tables, write_backlog
from benchmarks.catch_up import seconds_to_catch_up
from benchmarks.equality import require_equal
from benchmarks.peers.livesync import Livesync
from benchmarks.peers.native import NativeSubscription
from benchmarks.peers.subscriber import Subscriber, settle
from benchmarks.plan import Plan, turns
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import ServerPair, drop_database, new_database, started_servers
from benchmarks.table import Target, each, geometric_mean, progress, ratio, show

_MEAN_TO_NATIVE = 1.0
_EACH_TO_NATIVE = 0.7

_Rates = dict[tuple[str, str], list[float]]
"""Thousands of changes a second of every round, by workload and peer."""


def run(plan: Plan) -> None:
    """All workloads, with new databases every round."""
    rates: _Rates = {}
    changes = plan.size(300_000, 6_000)
    rows = plan.size(500_000, 20_000)
    rounds = plan.rounds()
    peers = (Livesync.name, NativeSubscription.name)
    with started_servers() as servers:
        for number, order in turns(peers, rounds):
            progress(f"apply: round {number} of {rounds}")
            _round(servers, order, rows, changes, rates)
    _show(rates, rows, changes)


def _round(servers: ServerPair, order: Sequence[str], rows: int, changes: int, rates: _Rates) -> None:
    source = new_database(servers.source, "changing")
    create_tables(source, rows)
    schema = schema_of(source, with_indexes=True)
    with ExitStack() as stack:
        subscribers: list[Subscriber] = []
        for name in order:
            if name == Livesync.name:
                ours = Livesync(source, new_database(servers.target, "followed_by_us"), servers.directory)
                stack.callback(ours.close)
                subscribers.append(ours)
            else:
                subscribers.append(NativeSubscription(source, new_database(servers.target, "followed")))
        writer = stack.enter_context(source.connect())
        for subscriber in subscribers:
            restore_schema(schema, subscriber.target)
            subscriber.start()
            subscriber.wait_until_ready()
            settle(writer, subscriber)
            subscriber.stop()
            subscriber.target.execute("vacuum analyze")
        for number, workload in enumerate(WORKLOADS):
            write_backlog(source, workload, rows, changes, number)
            servers.checkpoint()
            for subscriber in subscribers:
                with subscriber.target.connect() as target:
                    subscriber.start()
                    seconds = seconds_to_catch_up(writer, target, subscriber, number)
                settle(writer, subscriber)
                subscriber.stop()
                require_equal(source, subscriber.target, [workload.table], subscriber.name)
                rate = changes / seconds / 1000
                progress(f"apply: {workload.title}: {subscriber.name} {rate:.1f} thousand changes a second")
                rates.setdefault((workload.title, subscriber.name), []).append(rate)
        for subscriber in subscribers:
            subscriber.drop()
    for subscriber in subscribers:
        drop_database(servers.target, subscriber.target.name)
    drop_database(servers.source, source.name)


def _show(rates: _Rates, rows: int, changes: int) -> None:
    own, native = Livesync.name, NativeSubscription.name
    ratios = {
        workload.title: median(rates[workload.title, own]) / median(rates[workload.title, native])
        for workload in WORKLOADS
    }

    def line(workload: Workload) -> tuple[str, ...]:
        ours, theirs = rates[workload.title, own], rates[workload.title, native]
        return (
            workload.title,
            f"{median(ours):.0f}",
            f"{median(theirs):.0f}",
            ratio(ratios[workload.title]),
            each(ours, 0),
            each(theirs, 0),
        )

    mean = geometric_mean(list(ratios.values()))
    show(
        f"catch-up over {changes:,} changes of a table of {rows:,} rows, thousands of changes a second",
        ("", own, native, "ratio", "every round", "of native"),
        [*map(line, WORKLOADS), ("geometric mean", "", "", ratio(mean), "", "")],
        [
            Target("geometric mean of the ratios to native", mean, _MEAN_TO_NATIVE, "at least").line(),
            Target(
                "ratio to native in every workload", min(ratios.values()), _EACH_TO_NATIVE, "at least"
            ).line(),
            "skipped: pgcopydb follow needs the output plugin test_decoding or wal2json, "
            "which the embedded servers do not carry",
        ],
    )
