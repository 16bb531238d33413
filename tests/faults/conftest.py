"""Servers that may be stopped and reconfigured, with the tables of :mod:`tests.faults.watched`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.faults.proxy import Proxy
from tests.faults.watched import SLOW, TABLES, Ways


@pytest.fixture(scope="session")
def own_servers(server_base: Path) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """Servers that nobody else uses, because they are stopped and reconfigured."""
    source = EmbeddedServer.create(16, server_base / "fault-source", settings={"wal_sender_timeout": "5s"})
    target = EmbeddedServer.create(18, server_base / "fault-target")
    source.start()
    target.start()
    yield source, target
    source.stop("immediate")
    target.stop("immediate")


def _database(server: EmbeddedServer) -> Iterator[Database]:
    server.start()
    database = Database(server, f"fault_{secrets.token_hex(4)}")
    database.create()
    yield database
    database.drop()


@pytest.fixture
def source(own_servers: tuple[EmbeddedServer, EmbeddedServer]) -> Iterator[Database]:
    """Two published tables, of which item is large enough not to fit into the sockets' buffers."""
    for database in _database(own_servers[0]):
        database.execute(TABLES)
        database.execute("insert into item select n, repeat('x', 10000) from generate_series(1, 2500) n")
        database.execute("insert into other select n, 'before' from generate_series(1, 500) n")
        database.execute("create publication pub for table item, other")
        yield database


@pytest.fixture
def target(own_servers: tuple[EmbeddedServer, EmbeddedServer]) -> Iterator[Database]:
    """The same tables, empty; inserts into item can be slowed down."""
    for database in _database(own_servers[1]):
        database.execute(TABLES)
        database.execute(SLOW)
        yield database


@pytest.fixture
def ways(source: Database, target: Database) -> Iterator[Ways]:
    with Proxy(source.server.port) as to_source, Proxy(target.server.port) as to_target:
        yield Ways(source, target, to_source, to_target)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's patience with a peer that says nothing, in seconds instead of minutes."""
    monkeypatch.setattr("engine.replication.receive._SILENCE_SECONDS", 4.0)
    monkeypatch.setattr("engine.replication.engine._CONTROL_SECONDS", 4.0)
    monkeypatch.setattr("engine.replication.engine._FORGOTTEN_SECONDS", 4.0)
    monkeypatch.setattr("engine.replication.apply_worker._CONNECT_SECONDS", 6.0)
