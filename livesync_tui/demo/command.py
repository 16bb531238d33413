"""``livesync-tui demo``: two embedded servers, sample data under live writes, and the real tool on them."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psycopg
from psycopg import sql

from engine.connection.endpoint import parse_endpoint
from engine.errors import EngineError, Failure, Side
from livesync_tui import output
from livesync_tui.demo.dataset import create_demo
from livesync_tui.demo.headless import run_headless
from livesync_tui.demo.servers import EmbeddedServer, kept_directory, temporary_directory
from livesync_tui.demo.writer import DemoWriter

SUBSCRIPTION = "demo"
PUBLICATION = "livesync_demo"
_SOURCE_DATABASE = "shop"
_TARGET_DATABASE = "tsdb"
_TRANSACTIONS_PER_SECOND = 300


@dataclass(frozen=True, slots=True)
class DemoServers:
    """Two running servers with an empty database each."""

    source: EmbeddedServer
    target: EmbeddedServer
    directory: Path

    @property
    def source_conninfo(self) -> str:
        """With the password."""
        return self.source.conninfo(_SOURCE_DATABASE)

    @property
    def target_conninfo(self) -> str:
        """With the password."""
        return self.target.conninfo(_TARGET_DATABASE)


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came; unwinding removes servers and data."""


def demo(options: argparse.Namespace) -> int:
    """Run the demo on the terminal or, without one or with ``--headless``, by itself; the exit code."""
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminate)
    try:
        with demo_servers(keep=options.keep) as servers:
            output.line(f"Filling the source with about {options.rows:,} rows")
            create_demo(servers.source_conninfo, rows=options.rows)
            writer = DemoWriter(servers.source_conninfo, transactions_per_second=_TRANSACTIONS_PER_SECOND)
            writer.start()
            try:
                if options.headless or not has_terminal:
                    return _run_by_itself(servers, writer, options.seconds)
                return _run_wizard(servers, writer)
            finally:
                writer.stop()
                if options.keep:
                    _say_where(servers)
    except _Terminated:
        output.error("Stopped.")
        return 1


@contextmanager
def demo_servers(*, keep: bool) -> Iterator[DemoServers]:
    """Start both servers; when the block ends they and their data are gone, unless ``keep``."""
    with kept_directory() if keep else temporary_directory() as directory:
        output.line("Starting PostgreSQL 16 as the source and 18 as the target, on 127.0.0.1")
        source = EmbeddedServer.create(16, directory / "source")
        target = EmbeddedServer.create(18, directory / "target")
        for server, name in ((source, _SOURCE_DATABASE), (target, _TARGET_DATABASE)):
            server.start()
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield DemoServers(source, target, directory)
        if keep:
            source.detach()
            target.detach()


def _run_by_itself(servers: DemoServers, writer: DemoWriter, seconds: int) -> int:
    return run_headless(
        parse_endpoint(Side.SOURCE, servers.source_conninfo),
        parse_endpoint(Side.TARGET, servers.target_conninfo),
        writer,
        subscription=SUBSCRIPTION,
        publication=PUBLICATION,
        live_seconds=seconds,
    )


def _run_wizard(servers: DemoServers, writer: DemoWriter) -> int:
    from livesync_tui.terminal import run_wizard

    def stop_writers() -> None:
        writer.stop()
        if writer.failure is not None:
            raise EngineError(Failure("The demo's writer had stopped before", detail=writer.failure))

    result = run_wizard(
        source=servers.source_conninfo,
        target=servers.target_conninfo,
        subscription=SUBSCRIPTION,
        stop_writers=stop_writers,
        folder=servers.directory / "migrations",
    )
    output.text(result.text, to=sys.stderr if result.exit_code else sys.stdout)
    return result.exit_code


def _say_where(servers: DemoServers) -> None:
    """Leave the connection strings in a file: they hold the passwords, so they are not printed."""
    path = servers.directory / "connections.env"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as connections:
        connections.write(f"export SOURCE={shlex.quote(servers.source_conninfo)}\n")
        connections.write(f"export TARGET={shlex.quote(servers.target_conninfo)}\n")
    output.line(f"Kept: both servers run on; their connection strings are in {path}")
