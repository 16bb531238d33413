"""The process that replicates without a terminal: found, watched, ordered, killed, started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from engine.catalog.table import TableName
from engine.connection.endpoint import parse_endpoint
from engine.cutover.outcome import FenceOutcome
from engine.errors import ConnectionFailedError, Side
from engine.snapshot import Phase
from livesync_tui.host.address import socket_path, socket_paths
from livesync_tui.host.process import LOG_NAME
from livesync_tui.host.remote_engine import RemoteEngine, ask_about
from livesync_tui.services import LivesyncServices
from screens.migration import Step
from tests.conftest import Database
from tests.waiting import wait_until

_SUBSCRIPTION = "night"


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where hosts listen; what still does at the end is ended."""
    directory = tmp_path_factory.mktemp("s")
    yield directory
    for path in socket_paths(directory):
        with suppress(ConnectionFailedError, ProcessLookupError):
            os.kill(ask_about(path).pid, signal.SIGKILL)


def _services(source_db: Database, target_db: Database, folder: Path, sockets: Path) -> LivesyncServices:
    """A wizard's services, with a migration that is ready to start."""
    services = LivesyncServices(folder=folder, host_directory=sockets)
    services.use_connection(Side.SOURCE, source_db.conninfo)
    services.use_connection(Side.TARGET, target_db.conninfo)
    migration = replace(
        services.migration,
        name=_SUBSCRIPTION,
        source_conninfo=services.conninfo(Side.SOURCE),
        target_conninfo=services.conninfo(Side.TARGET),
        source_name="source",
        target_name="target",
        subscription=_SUBSCRIPTION,
        publication="p",
        tables=(TableName("public", "t"),),
        step=Step.LIVE,
        started_at=datetime.now(UTC),
    )
    assert services.record(migration) is None
    return services


@pytest.fixture
def two(source_db: Database, target_db: Database) -> tuple[Database, Database]:
    """A table with rows on the source, empty on the target."""
    for database in (source_db, target_db):
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            connection.execute("create table t (id int primary key, note text)")
    with psycopg.connect(source_db.conninfo, autocommit=True) as connection:
        connection.execute("insert into t select n, 'note ' || n from generate_series(1, 1000) n")
        connection.execute("create publication p for table t")
    return source_db, target_db


def _remote(services: LivesyncServices) -> RemoteEngine:
    engine = services.engine
    assert isinstance(engine, RemoteEngine)
    return engine


def _phase(services: LivesyncServices) -> Phase | None:
    snapshot = _remote(services).snapshot()
    return None if snapshot is None else snapshot.phase


def _replicates(services: LivesyncServices) -> None:
    wait_until(lambda: _phase(services) is Phase.REPLICATING, describe="replication")


def _count(database: Database) -> int:
    with psycopg.connect(database.conninfo) as connection:
        row = connection.execute("select count(*) from t").fetchone()
    assert row is not None
    return int(row[0])


def _insert(database: Database, number: int) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("insert into t values (%s, 'later')", (number,))


def test_replication_goes_on_without_the_wizard_and_is_found_again_with_its_history(
    two: tuple[Database, Database], tmp_path: Path, sockets: Path
) -> None:
    source_db, target_db = two
    services = _services(source_db, target_db, tmp_path, sockets)
    assert services.start_engine() is None
    assert services.host.survives
    _replicates(services)
    host = _remote(services).about
    events = _remote(services).events(0)
    assert events
    services.host.let_run()

    _insert(source_db, 1001)
    wait_until(lambda: _count(target_db) == 1001, describe="the row to arrive without a wizard")

    again = LivesyncServices(folder=tmp_path, host_directory=sockets)
    (running,) = again.host.running()
    assert (running.pid, running.subscription) == (host.pid, _SUBSCRIPTION)
    assert running.migration_id == again.saved_migrations()[0].id
    assert again.resume(running.migration_id) is None
    assert again.start_engine() is None
    assert _remote(again).about.pid == host.pid
    assert _remote(again).events(0)[: len(events)] == events

    assert again.stop_engine() is True
    assert _phase(again) is Phase.STOPPED
    wait_until(lambda: not again.host.running(), describe="the host to end")
    assert not list(sockets.iterdir())


def test_a_fence_and_what_comes_after_it_are_seen_through_the_socket(
    two: tuple[Database, Database], tmp_path: Path, sockets: Path
) -> None:
    source_db, target_db = two
    services = _services(source_db, target_db, tmp_path, sockets)
    assert services.start_engine() is None
    _replicates(services)

    def changes_after(text: str) -> int | None:
        snapshot = _remote(services).snapshot()
        seen = None if snapshot is None else snapshot.fence(text)
        return None if seen is None else seen.changes_after

    fence = services.cutover.pass_fence()
    assert isinstance(fence, FenceOutcome)
    assert (fence.reached, fence.comes_through_stream, changes_after(fence.fence)) == (True, True, 0)
    _insert(source_db, 1001)
    wait_until(lambda: changes_after(fence.fence) == 1, describe="the row behind the fence to be counted")
    assert services.stop_engine() is True


def test_a_second_viewer_only_looks_until_the_first_is_gone(
    two: tuple[Database, Database], tmp_path: Path, sockets: Path
) -> None:
    first = _services(*two, tmp_path, sockets)
    assert first.start_engine() is None
    _replicates(first)
    second = LivesyncServices(folder=tmp_path, host_directory=sockets)
    assert second.resume(first.migration.id) is None
    assert second.start_engine() is None
    assert str(os.getpid()) in second.host.read_only_because
    assert first.host.read_only_because == ""

    _remote(first).pause()
    wait_until(lambda: _phase(second) is Phase.PAUSED, describe="the pause to be seen by both")
    _remote(first).resume()
    _replicates(second)
    _remote(second).pause()

    first.host.let_run()
    wait_until(lambda: second.host.read_only_because == "", describe="the second to be in control")
    assert _phase(second) is Phase.REPLICATING
    _remote(second).pause()
    wait_until(lambda: _phase(second) is Phase.PAUSED, describe="its order to be obeyed")
    assert second.stop_engine() is True


def test_a_killed_host_is_said_and_the_next_goes_on_where_it_was(
    two: tuple[Database, Database], tmp_path: Path, sockets: Path
) -> None:
    source_db, target_db = two
    services = _services(source_db, target_db, tmp_path, sockets)
    assert services.start_engine() is None
    _replicates(services)
    killed = _remote(services).about.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: _phase(services) is Phase.FAILED, describe="its end to be seen")
    snapshot = _remote(services).snapshot()
    assert snapshot is not None
    assert snapshot.failure is not None
    assert "goes on from the recorded position" in snapshot.failure.hint

    _insert(source_db, 1001)
    assert services.start_engine() is None
    assert _remote(services).about.pid != killed
    _replicates(services)
    wait_until(lambda: _count(target_db) == 1001, describe="what was written meanwhile")
    assert services.stop_engine() is True


def test_no_password_is_on_a_command_line_or_on_disk(
    two: tuple[Database, Database], tmp_path: Path, sockets: Path
) -> None:
    services = _services(*two, tmp_path, sockets)
    assert services.start_engine() is None
    _replicates(services)
    password = parse_endpoint(Side.SOURCE, two[0].conninfo).password
    assert password is not None
    secret = password.reveal()
    pid = _remote(services).about.pid
    assert secret not in Path(f"/proc/{pid}/cmdline").read_text()
    assert secret not in Path(f"/proc/{pid}/environ").read_text()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret not in path.read_text()
            assert path.stat().st_mode & 0o077 == 0
    (path,) = sockets.iterdir()
    assert path.stat().st_mode & 0o177 == 0
    assert (tmp_path / LOG_NAME).stat().st_size
    assert services.stop_engine() is True


def test_a_host_whose_engine_cannot_start_says_why_and_makes_way(
    two: tuple[Database, Database], tmp_path: Path, sockets: Path
) -> None:
    source_db, target_db = two
    with psycopg.connect(source_db.conninfo, autocommit=True) as connection:
        connection.execute("drop publication p")
    services = _services(source_db, target_db, tmp_path, sockets)
    assert services.start_engine() is None
    wait_until(lambda: _phase(services) is Phase.FAILED, describe="the engine to give up")
    snapshot = _remote(services).snapshot()
    assert snapshot is not None
    assert snapshot.failure is not None
    assert "publication" in snapshot.failure.sentence()
    services.host.let_run()
    # Who comes back later still learns why.
    again = LivesyncServices(folder=tmp_path, host_directory=sockets)
    remote = RemoteEngine(
        socket_path(sockets, _SUBSCRIPTION, parse_endpoint(Side.TARGET, target_db.conninfo))
    )
    assert remote.join(10)
    assert remote.snapshot() == snapshot
    remote.close()

    with psycopg.connect(source_db.conninfo, autocommit=True) as connection:
        connection.execute("create publication p for table t")
    assert again.resume(services.migration.id) is None
    services_password = services.prefilled(Side.SOURCE)
    again.use_connection(Side.SOURCE, services_password)
    again.use_connection(Side.TARGET, target_db.conninfo)
    assert again.start_engine() is None
    _replicates(again)
    assert again.stop_engine() is True
