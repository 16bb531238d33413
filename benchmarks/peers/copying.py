"""Ways to copy a whole database once, each timed from an empty target database until it is done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Protocol

from benchmarks.cpu import Cost, Meter
from benchmarks.errors import BenchmarkError, PeerSkippedError, tail
from benchmarks.peers.livesync import Livesync
from benchmarks.peers.native import NativeSubscription
from benchmarks.peers.subscriber import Subscriber
from benchmarks.schema import restore_schema, schema_of
from benchmarks.servers import Database

_JOBS = 2
"""Of every peer that can be told: one a core."""

_SPLIT_LARGER_THAN = "100MB"


class CopyPeer(Protocol):
    """One way to copy."""

    @property
    def name(self) -> str:
        """The peer's name in tables."""

    def copy(self, source: Database, target: Database, tables: Sequence[str], directory: Path) -> Cost:
        """Copy; what it cost.

        Args:
            source: Has the rows, and the publication `PUBLICATION`.
            target: Empty, or with tables without indexes when rows alone are measured.
            tables: Largest first.
            directory: For files; emptied by nobody else while this runs.

        Raises:
            BenchmarkError: It failed.
            PeerSkippedError: It cannot do this here.
        """


class LivesyncCopy:
    """``run``, from the start of its process until every table is in state r and has its indexes."""

    def __init__(self, *, rows_alone: bool, vacuums: bool = False) -> None:
        """Choose what is done.

        Args:
            rows_alone: The tables are there; otherwise ``--schema`` makes them.
            vacuums: VACUUM ANALYZE is part of it, because a peer cannot do without.
        """
        self._rows_alone = rows_alone
        self._vacuums = vacuums
        self.name = "livesync-tui, vacuumdb" if vacuums else "livesync-tui"

    def copy(self, source: Database, target: Database, tables: Sequence[str], directory: Path) -> Cost:
        """See `CopyPeer`."""
        meter = Meter(source, target)
        restores_schema = not self._rows_alone
        with closing(Livesync(source, target, directory, restores_schema=restores_schema)) as subscriber:
            cost = _until_ready(subscriber, meter)
        if self._vacuums:
            meter = Meter(source, target)
            target.run("vacuumdb", "--analyze", "--quiet", f"--jobs={_JOBS}", "--dbname", target.name)
            cost += meter.cost()
        return cost


class NativeCopy:
    """From the schema's dump and CREATE SUBSCRIPTION until every table is in state r."""

    name = "native initial sync"

    def copy(self, source: Database, target: Database, tables: Sequence[str], directory: Path) -> Cost:
        """See `CopyPeer`."""
        meter = Meter(source, target)
        restore_schema(schema_of(source, with_indexes=True), target)
        return _until_ready(NativeSubscription(source, target), meter)


def _until_ready(subscriber: Subscriber, meter: Meter) -> Cost:
    subscriber.start()
    cost = meter.cost(subscriber.wait_until_ready())
    subscriber.drop()
    return cost


class PsqlPipes:
    """``psql COPY TO STDOUT | psql COPY FROM STDIN`` for each table, two pipes at a time, largest first."""

    name = "psql COPY | psql COPY"

    def copy(self, source: Database, target: Database, tables: Sequence[str], directory: Path) -> Cost:
        """See `CopyPeer`."""
        meter = Meter(source, target)
        with ThreadPoolExecutor(_JOBS) as pool:
            for copied in [pool.submit(_pipe, source, target, table) for table in tables]:
                copied.result()
        return meter.cost()


def _pipe(source: Database, target: Database, table: str) -> None:
    arguments = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command"]
    with (
        subprocess.Popen(
            [source.program("psql"), *arguments, f'copy public."{table}" to stdout'],
            env=source.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as reading,
        subprocess.Popen(
            [target.program("psql"), *arguments, f'copy public."{table}" from stdin'],
            env=target.environment(),
            stdin=reading.stdout,
        ) as writing,
    ):
        assert reading.stdout is not None
        # So that the reader notices when the writer has gone.
        reading.stdout.close()
        if writing.wait() != 0 or reading.wait() != 0:
            raise BenchmarkError(f"psql COPY of {table} failed")


class DumpRestore:
    """``pg_dump --format=directory``, then ``pg_restore``, both with two jobs."""

    name = "pg_dump | pg_restore -j2"

    def copy(self, source: Database, target: Database, tables: Sequence[str], directory: Path) -> Cost:
        """See `CopyPeer`."""
        dump = directory / "dump"
        meter = Meter(source, target)
        # Uncompressed: on one machine compression costs more than it saves.
        source.run(
            "pg_dump", "-Fd", f"-j{_JOBS}", "--compress=0", "--no-owner", "--no-publications", "-f", str(dump)
        )
        target.run("pg_restore", f"-j{_JOBS}", "--no-owner", "--dbname", target.name, str(dump))
        cost = meter.cost()
        shutil.rmtree(dump)
        return cost


class Pgcopydb:
    """``pgcopydb clone`` of $PATH, two jobs, large tables split; without its vacuum if it can do without."""

    def __init__(self) -> None:
        self._program = shutil.which("pgcopydb")
        self.name = "pgcopydb"
        if self._program is not None:
            self.name = f"pgcopydb {self._said('--version').split()[2].split('-')[0]}"

    def _said(self, *arguments: str) -> str:
        assert self._program is not None
        finished = subprocess.run([self._program, *arguments], capture_output=True, text=True, check=False)
        return "".join(
            line
            for line in (finished.stdout + finished.stderr).splitlines(keepends=True)
            if not line[:1].isdigit()
        )

    @property
    def vacuums(self) -> bool:
        """Whether it vacuums and cannot be told not to; the others do not."""
        return self._program is not None and "--skip-vacuum" not in self._said("clone", "--help")

    def copy(self, source: Database, target: Database, tables: Sequence[str], directory: Path) -> Cost:
        """See `CopyPeer`."""
        if self._program is None:
            raise PeerSkippedError("pgcopydb is not installed")
        work = directory / "pgcopydb"
        log = directory / "pgcopydb.log"
        passwords = directory / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(
            "".join(
                f"127.0.0.1:{database.server.port}:*:*:{database.environment()['PGPASSWORD']}\n"
                for database in (source, target)
            ),
            encoding="utf-8",
        )
        flags = [] if self.vacuums else ["--skip-vacuum"]
        meter = Meter(source, target)
        with log.open("wb") as output:
            finished = subprocess.run(
                [
                    self._program,
                    "clone",
                    f"--table-jobs={_JOBS}",
                    f"--index-jobs={_JOBS}",
                    f"--split-tables-larger-than={_SPLIT_LARGER_THAN}",
                    "--no-owner",
                    *flags,
                    f"--dir={work}",
                    f"--source={_uri(source)}",
                    f"--target={_uri(target)}",
                ],
                env={
                    "PATH": f"{source.server.bin_directory}:{os.environ.get('PATH', os.defpath)}",
                    "LC_ALL": "C",
                    "PGPASSFILE": str(passwords),
                    "TMPDIR": str(directory),
                    "XDG_RUNTIME_DIR": str(directory),
                    "HOME": str(directory),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        cost = meter.cost()
        shutil.rmtree(work, ignore_errors=True)
        passwords.unlink()
        if finished.returncode != 0:
            raise PeerSkippedError(f"{self.name} fails on PostgreSQL {source.server.major}:\n{tail(log)}")
        return cost


def _uri(database: Database) -> str:
    """Without the password, which is in PGPASSFILE."""
    user = database.environment()["PGUSER"]
    return f"postgresql://{user}@127.0.0.1:{database.server.port}/{database.name}"
