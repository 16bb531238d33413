"""Random faults, one after another and over each other, under live writes: at the end every table is equal.

A run is repeated by its seed: ``LIVESYNC_FAULT_SEED=7 make test-faults``.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from livesync_tui.demo.servers import EmbeddedServer
from livesync_tui.demo.writer import DemoWriter
from tests.conftest import Database
from tests.faults.migrating import all_ready, assert_all_equal, prepare, states, wait_drained
from tests.faults.proxy import Proxy, Way
from tests.faults.running import RunProcess
from tests.waiting import wait_until

_OUR_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
 where application_name like 'livesync-tui%%' and datname = current_database() and random() < %s
"""

_POSITION = "select lsn::text from _ts_live_sync.progress"


@pytest.fixture(scope="module")
def own_servers(server_base: Path) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """Servers that nobody else uses, because they are stopped at any moment."""
    # A walsender that is not answered goes away while the next faults happen, not after them.
    source = EmbeddedServer.create(16, server_base / "faulty-source", settings={"wal_sender_timeout": "5s"})
    target = EmbeddedServer.create(18, server_base / "faulty-target")
    source.start()
    target.start()
    yield source, target
    source.stop("immediate")
    target.stop("immediate")


class Disturbed:
    """One migration, both servers behind a proxy each, and the ways to disturb it."""

    def __init__(
        self,
        source: Database,
        target: Database,
        *,
        to_source: Proxy,
        to_target: Proxy,
        writer: DemoWriter,
        log: Path,
        chance: random.Random,
    ) -> None:
        self.source = source
        self.target = target
        self.to_source = to_source
        self.to_target = to_target
        self.writer = writer
        self.log = log
        self.chance = chance
        self.process = self._start()
        self.done: list[str] = []

    def _start(self) -> RunProcess:
        self.log_size_at_start = self.log.stat().st_size if self.log.exists() else 0
        # Connecting into nothing is given up sooner than by default, as a user might choose.
        return RunProcess(
            self.source,
            self.target,
            self.log,
            source_conninfo=self.to_source.conninfo(self.source.conninfo) + " connect_timeout=3",
            target_conninfo=self.to_target.conninfo(self.target.conninfo) + " connect_timeout=3",
        )

    def faults(self) -> list[Callable[[], None]]:
        return [
            self.kill_engine,
            self.kill_engine,
            self.stop_engine,
            self.crash_source,
            self.crash_target,
            self.restart_source,
            self.restart_target,
            self.end_sessions_on_source,
            self.end_sessions_on_target,
            self.lock_a_target_table,
            self.cut_a_link,
            self.stall_a_link,
            self.half_open_a_link,
        ]

    def disturb(self) -> None:
        """One fault, then a moment of peace, which may be too short to recover in."""
        fault = self.chance.choice(self.faults())
        self.done.append(fault.__name__)
        fault()
        peace = self.chance.random()
        if peace < 0.6:
            self.wait_moved()
        else:
            wait_until(lambda: self.chance.random() < 0.05, describe="a short moment")

    def wait_moved(self) -> None:
        """Until something was applied after the fault."""
        before = self.position()

        def moved() -> bool:
            assert self.writer.failure is None, self.writer.failure
            self.keep_running()
            return self.position() != before

        wait_until(moved, timeout_seconds=180, describe=self.log_tail)

    def keep_running(self) -> None:
        """Start the engine again when it found no server at its start, as whoever supervises it would."""
        if not self.process.is_alive:
            code = self.process.wait()
            said = self.log.read_text()[self.log_size_at_start :]
            if code == 3 and "Another engine is running" in said:
                # One that was killed behind a half-open link: to the target it lives until keepalives fail,
                # and the proxy answers those.
                self.to_target.cut()
            else:
                assert code == 1, self.log_tail()
            assert "livesync-tui: " in said, self.log_tail()
            assert "Subscription night" not in said, self.log_tail()
            assert "Internal error" not in said, self.log_tail()
            self.process = self._start()

    def position(self) -> str:
        try:
            return str(self.target.query(_POSITION))
        except psycopg.Error:
            return ""

    def log_tail(self) -> str:
        return f"{self.done}\n{self.log.read_text()[-3000:]}"

    def kill_engine(self) -> None:
        self.process.kill()
        self.process = self._start()

    def stop_engine(self) -> None:
        # Before its first word the program has not yet said what it does about SIGTERM.
        wait_until(lambda: self.log.stat().st_size > self.log_size_at_start, describe=self.log_tail)
        self.keep_running()
        # Where a link passes nothing on, it may say after a minute that it did not end in order.
        code = self.process.terminate()
        assert code == 0 or "nothing is lost" in self.log.read_text()[-500:], (code, self.log_tail())
        self.process = self._start()

    def crash_source(self) -> None:
        self.source.server.stop("immediate")
        self.source.server.start()

    def crash_target(self) -> None:
        self.target.server.stop("immediate")
        self.target.server.start()

    def restart_source(self) -> None:
        self.source.server.stop()
        self.source.server.start()

    def restart_target(self) -> None:
        self.target.server.stop()
        self.target.server.start()

    def end_sessions_on_source(self) -> None:
        self.source.query(_OUR_SESSIONS, [self.chance.random()])

    def end_sessions_on_target(self) -> None:
        self.target.query(_OUR_SESSIONS, [self.chance.random()])

    def lock_a_target_table(self) -> None:
        with self.target.connect(autocommit=False) as connection:
            connection.execute("set lock_timeout = '5s'")
            try:
                connection.execute("lock table shop.orders in access exclusive mode")
            except psycopg.errors.LockNotAvailable:
                return
            wait_until(lambda: self.chance.random() < 0.03, describe="a moment with the lock")

    def cut_a_link(self) -> None:
        self._a_link().cut(reset=self.chance.random() < 0.5)

    def stall_a_link(self) -> None:
        link = self._a_link()
        link.stall(*self._directions())
        wait_until(lambda: self.chance.random() < 0.01, describe="a moment of silence")
        link.heal()

    def half_open_a_link(self) -> None:
        link = self._a_link()
        link.half_open(*self._directions())
        wait_until(lambda: self.chance.random() < 0.05, describe="a moment in which new ones are no better")
        link.heal()

    def _a_link(self) -> Proxy:
        return self.chance.choice([self.to_source, self.to_target])

    def _directions(self) -> tuple[Way, ...]:
        return self.chance.choice([(Way.TO_SERVER,), (Way.TO_CLIENT,), tuple(Way)])


def run_faults(source: Database, target: Database, log: Path, *, seed: int, faults: int) -> None:
    """Migrate under ``faults`` faults; prints the seed for the report of a failure."""
    print(f"seed {seed}")  # noqa: T201
    prepare(source, target, rows=40_000)
    writer = DemoWriter(source.conninfo, transactions_per_second=150, sessions=3)
    writer.start()
    wait_until(lambda: writer.transactions_committed > 20, describe=lambda: writer.failure)
    with Proxy(source.server.port) as to_source, Proxy(target.server.port) as to_target:
        disturbed = Disturbed(
            source,
            target,
            to_source=to_source,
            to_target=to_target,
            writer=writer,
            log=log,
            chance=random.Random(seed),
        )
        _disturb_and_compare(disturbed, faults)


def _disturb_and_compare(disturbed: Disturbed, faults: int) -> None:
    source, target, writer = disturbed.source, disturbed.target, disturbed.writer
    try:
        for _ in range(faults):
            disturbed.disturb()
        disturbed.wait_moved()
        wait_until(lambda: all_ready(target), timeout_seconds=120, describe=disturbed.log_tail)
        writer.stop()
        assert writer.failure is None, (writer.failure, disturbed.done)
        wait_drained(source, target)
        assert all_ready(target), states(target)
        errors = (
            "select tablename, last_error from _ts_live_sync.subscription_rel where last_error is not null"
        )
        assert target.query(errors) == []
        assert disturbed.process.terminate() == 0, disturbed.log_tail()
        assert_all_equal(source, target)
        slots = source.query("select slot_name from pg_replication_slots where database = current_database()")
        assert slots == [("live_sync_night",)]
    except BaseException:
        print(disturbed.done)  # noqa: T201
        raise
    finally:
        writer.stop()
        if disturbed.process.is_alive:
            disturbed.process.kill()


@pytest.fixture(autouse=True)
def patient_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that outlasts every fault: it is not what is tested."""
    monkeypatch.setattr("livesync_tui.demo.writer.RECONNECT_SECONDS", 600.0)


@pytest.fixture
def databases(
    own_servers: tuple[EmbeddedServer, EmbeddedServer],
) -> Iterator[tuple[Database, Database]]:
    """Source and target of one run."""
    pair = [Database(server, f"faults_{secrets.token_hex(4)}") for server in own_servers]
    for database in pair:
        database.server.start()
        database.create()
    yield pair[0], pair[1]
    for database in pair:
        database.drop()


def test_a_few_random_faults_lose_and_double_nothing(
    databases: tuple[Database, Database], tmp_path: Path
) -> None:
    run_faults(*databases, tmp_path / "log", seed=20261121, faults=8)


_SEEDS = [int(seed) for seed in os.environ.get("LIVESYNC_FAULT_SEED", "1,2,3").split(",")]


@pytest.mark.faults
@pytest.mark.parametrize("seed", _SEEDS)
def test_many_random_faults_lose_and_double_nothing(
    seed: int, databases: tuple[Database, Database], tmp_path: Path
) -> None:
    run_faults(*databases, tmp_path / "log", seed=seed, faults=40)
