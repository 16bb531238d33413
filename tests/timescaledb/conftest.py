"""Servers with TimescaleDB: Debian's Apache edition, and full ones where some are installed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database, new_database
from tests.timescaledb.installations import Installation, apache_edition, full_editions

_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "32",
    "max_locks_per_transaction": "256",
}


@pytest.fixture(scope="session")
def server_of(server_base: Path) -> Iterator[Callable[[Installation], EmbeddedServer]]:
    """Makes and starts the server of an installation, once."""
    servers: dict[Path, EmbeddedServer] = {}

    def start(installation: Installation) -> EmbeddedServer:
        key = installation.bin_directory
        if key not in servers:
            servers[key] = EmbeddedServer.create(
                installation.major,
                server_base / f"timescaledb-{len(servers)}",
                settings=_SETTINGS,
                bin_directory=key,
            )
            servers[key].start()
        return servers[key]

    yield start
    for server in servers.values():
        server.stop("immediate")


@pytest.fixture(scope="session")
def apache_server(server_of: Callable[[Installation], EmbeddedServer]) -> EmbeddedServer:
    """PostgreSQL 17 with the Apache edition."""
    return server_of(apache_edition())


@pytest.fixture(scope="session")
def full_source_server(server_of: Callable[[Installation], EmbeddedServer]) -> EmbeddedServer:
    """The first that has the full edition."""
    return server_of(full_editions()[0])


@pytest.fixture(scope="session")
def full_target_server(server_of: Callable[[Installation], EmbeddedServer]) -> EmbeddedServer:
    """The last that has the full edition; perhaps the same."""
    return server_of(full_editions()[-1])


@pytest.fixture
def apache_source(apache_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new database with the Apache edition."""
    yield from _with_extension(apache_server, "source", request)


@pytest.fixture
def apache_target(apache_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Another one on the same server."""
    yield from _with_extension(apache_server, "target", request)


@pytest.fixture
def other_role(full_source_server: EmbeddedServer, full_target_server: EmbeddedServer) -> Iterator[str]:
    """A role of both servers. Has to be asked for before the databases, so that these are dropped first."""
    name = f'it\'s "{secrets.token_hex(3)}"'
    servers = {id(server): server for server in (full_source_server, full_target_server)}.values()
    for server in servers:
        Database(server, "postgres").execute(sql.SQL("create role {}").format(sql.Identifier(name)))
    yield name
    for server in servers:
        Database(server, "postgres").execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def full_source(full_source_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new database with the full edition, whose jobs do not run."""
    yield from _with_extension(full_source_server, "source", request)


@pytest.fixture
def full_target(full_target_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new database with the full edition, whose jobs do not run."""
    yield from _with_extension(full_target_server, "target", request)


def _with_extension(server: EmbeddedServer, side: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    for database in new_database(server, side, request.node.name):
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            connection.execute("create extension timescaledb")
            # A policy that runs while a test looks would be a race.
            schema = connection.execute(
                "select n.nspname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
                " where p.proname = 'stop_background_workers'"
            ).fetchone()
            assert schema is not None
            connection.execute(
                sql.SQL("select {}.stop_background_workers()").format(sql.Identifier(schema[0]))
            )
        yield database
