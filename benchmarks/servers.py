"""The two servers every benchmark starts for itself, and databases on them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.errors import BenchmarkError
from livesync_tui.demo.servers import EmbeddedServer, temporary_directory

MAJOR = 18

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "256MB",
    "max_locks_per_transaction": "256",
    # Each of our commits waits for the disk, as the exactly-once rule wants it; without this that were free.
    "fsync": "on",
    # A vacuum that happens to start during one peer's turn; each benchmark vacuums between turns instead.
    "autovacuum": "off",
    # How soon an idle subscriber of PostgreSQL's own confirms: between turns we wait for that.
    "wal_receiver_status_interval": "1s",
}
"""Of both servers, besides those of `EmbeddedServer`."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database of an embedded server."""

    server: EmbeddedServer
    name: str

    @property
    def conninfo(self) -> str:
        """A URI with the password: for an environment, never for a command line."""
        return self.server.conninfo(self.name)

    def connect(self) -> psycopg.Connection:
        """A new session in autocommit mode."""
        return psycopg.connect(self.conninfo, autocommit=True)

    def execute(self, *statements: str) -> None:
        """Run ``statements`` one after another in a session of their own."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def number(self, query: str) -> int:
        """The one number that ``query`` answers; 0 for NULL."""
        with self.connect() as connection:
            row = connection.execute(query.encode()).fetchone()
        return 0 if row is None or row[0] is None else int(row[0])

    def program(self, name: str) -> str:
        """The path of a client program of the server's version."""
        return str(self.server.bin_directory / name)

    def run(self, name: str, *arguments: str, text: str | None = None) -> str:
        """Run a client program against this database; what it wrote to stdout.

        Args:
            name: ``psql``, ``pg_dump``, ``pgbench``, …
            arguments: Its arguments; connection and password are in its environment.
            text: For its stdin.

        Raises:
            BenchmarkError: It failed.
        """
        finished = subprocess.run(
            [self.program(name), *arguments],
            env=self.environment(),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise BenchmarkError(f"{name} failed: {finished.stderr.strip()}")
        return finished.stdout

    def environment(self) -> dict[str, str]:
        """Environment of a client program."""
        return {"LC_ALL": "C", **self.server.client_environment(self.name)}


@dataclass(frozen=True, slots=True)
class ServerPair:
    """Source and target, on this machine, with the same settings."""

    source: EmbeddedServer
    target: EmbeddedServer
    directory: Path
    """For logs and dumps; removed with the servers."""

    def checkpoint(self) -> None:
        """Write out what earlier work left dirty, so that no peer pays for another."""
        for server in (self.source, self.target):
            Database(server, "postgres").execute("checkpoint")


@contextmanager
def started_servers() -> Iterator[ServerPair]:
    """Two new servers; stopped and removed when the block ends."""
    with temporary_directory() as base:
        source, target = (
            EmbeddedServer.create(MAJOR, base / name, settings=SETTINGS) for name in ("source", "target")
        )
        work = base / "work"
        work.mkdir(mode=0o700)
        source.start()
        target.start()
        yield ServerPair(source, target, work)
        source.stop("immediate")
        target.stop("immediate")


def new_database(server: EmbeddedServer, name: str) -> Database:
    """An empty database ``name``; one that is there is dropped."""
    drop_database(server, name)
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return Database(server, name)


def drop_database(server: EmbeddedServer, name: str) -> None:
    """Drop a database, sessions and all; nothing happens when it is not there."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
