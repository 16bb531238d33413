"""Two real servers for the whole run, and a fresh database on each for every test that asks."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from livesync_tui.demo.servers import EmbeddedServer, temporary_directory
from tests.waiting import wait_until


class Database:
    """A database of its own on one of the servers. Every call connects anew, so it survives restarts."""

    def __init__(self, server: EmbeddedServer, name: str) -> None:
        self.server = server
        self.name = name

    @property
    def conninfo(self) -> str:
        """A URI with the superuser's password."""
        return self.server.conninfo(self.name)

    def connect(self, **keywords: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection in autocommit mode; use it in a ``with`` block."""
        return psycopg.connect(self.conninfo, **{"autocommit": True, **keywords})

    def execute(self, statement: Any, params: Any = None) -> None:
        """Run one statement, or several in one transaction when there are no ``params``."""
        with self.connect() as connection:
            connection.execute(statement, params)

    def query(self, statement: Any, params: Any = None) -> list[tuple[Any, ...]]:
        """The rows of one query."""
        with self.connect() as connection:
            return connection.execute(statement, params).fetchall()

    def create(self) -> None:
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template template0").format(sql.Identifier(self.name))
            )

    def drop(self) -> None:
        """Drop the database with its replication slots and whoever still uses them."""
        self.server.start()
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:

            def slots_are_gone() -> bool:
                connection.execute(
                    "select pg_catalog.pg_terminate_backend(active_pid) from pg_catalog.pg_replication_slots"
                    " where database = %s and active",
                    [self.name],
                )
                try:
                    connection.execute(
                        "select pg_catalog.pg_drop_replication_slot(slot_name)"
                        " from pg_catalog.pg_replication_slots where database = %s and not active",
                        [self.name],
                    )
                except (psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                    return False  # Its user, or a server's own clean-up, was quicker.
                remaining = connection.execute(
                    "select count(*) from pg_catalog.pg_replication_slots where database = %s", [self.name]
                ).fetchone()
                return remaining == (0,)

            wait_until(slots_are_gone, describe=f"the replication slots of {self.name} to be dropped")
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self.name))
            )


@pytest.fixture(scope="session")
def server_base() -> Iterator[Path]:
    """A folder for servers, which the user they run as can enter (pytest's tmp_path cannot be, for root)."""
    with temporary_directory() as base:
        yield base


@pytest.fixture(scope="session")
def source_server(server_base: Path) -> Iterator[EmbeddedServer]:
    """PostgreSQL 16."""
    server = EmbeddedServer.create(16, server_base / "source")
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture(scope="session")
def target_server(server_base: Path) -> Iterator[EmbeddedServer]:
    """PostgreSQL 18."""
    server = EmbeddedServer.create(18, server_base / "target")
    server.start()
    yield server
    server.stop("immediate")


def new_database(server: EmbeddedServer, side: str, test_name: str) -> Iterator[Database]:
    """A new, empty database on a server for one test, dropped after it."""
    # A test before this one may have failed between stopping and starting it.
    server.start()
    readable = re.sub(r"\W+", "_", test_name.removeprefix("test_"))[:40]
    database = Database(server, f"{side}_{readable}_{secrets.token_hex(3)}")
    database.create()
    yield database
    database.drop()


@pytest.fixture
def source_db(source_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new, empty database on the source server."""
    yield from new_database(source_server, "source", request.node.name)


@pytest.fixture
def target_db(target_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A new, empty database on the target server."""
    yield from new_database(target_server, "target", request.node.name)
