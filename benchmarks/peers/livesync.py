"""``livesync-tui run`` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from benchmarks.errors import BenchmarkError, tail
from benchmarks.peers.subscriber import PUBLICATION, wait_until_idle
from benchmarks.servers import Database
from benchmarks.waiting import wait_until
from engine.replication.slots import apply_slot_name

_STOP_SECONDS = 120.0

_STATES = """
select count(*),
       count(*) filter (where state <> 'r'),
       string_agg(tablename || ': ' || last_error, '; ') filter (where last_error is not null)
  from _ts_live_sync.subscription_rel
"""

_DEFERRED = """
select count(*) filter (where state <> 'done'), string_agg(name || ': ' || last_error, '; ')
  from _ts_live_sync.deferred
"""


class Livesync:
    """A `Subscriber`: ours, with its default flags unless told otherwise."""

    name = "livesync-tui"

    def __init__(
        self,
        source: Database,
        target: Database,
        directory: Path,
        *,
        restores_schema: bool = False,
        workers: int | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.subscription = target.name
        self.slot_name = apply_slot_name(self.subscription)
        self._flags = ["--schema"] if restores_schema else []
        if workers is not None:
            self._flags.append(f"--table-sync-workers={workers}")
        self._log = directory / f"{target.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of a started run."""
        assert self._process is not None
        return self._process.pid

    def _command(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "livesync_tui",
                    command,
                    "--subscription",
                    self.subscription,
                    *arguments,
                ],
                env={**os.environ, "SOURCE": self.source.conninfo, "TARGET": self.target.conninfo},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start(self) -> None:
        """Start the process."""
        self._process = self._command("run", "--publication", PUBLICATION, *self._flags)

    def require_alive(self) -> None:
        """Raise `BenchmarkError` when the process has ended."""
        if self._process is None or self._process.poll() is not None:
            raise BenchmarkError(f"{self.name} ended:\n{tail(self._log)}")

    def wait_until_ready(self) -> float:
        """Wait until every table is in state r and its indexes are there; the monotonic time, in seconds."""
        with self.target.connect() as connection:
            return wait_until(lambda: self._is_ready(connection), f"{self.name} to have all tables ready")

    def _is_ready(self, connection: psycopg.Connection) -> bool:
        self.require_alive()
        try:
            row = connection.execute(_STATES).fetchone()
            deferred = connection.execute(_DEFERRED).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return False  # It has just begun.
        assert row is not None
        assert deferred is not None
        tables, unready, errors = row
        unbuilt, refusals = deferred
        if errors:
            raise BenchmarkError(f"{self.name} set tables aside: {errors}")
        if refusals:
            raise BenchmarkError(f"{self.name} could not build {refusals}")
        return bool(tables) and unready == 0 and unbuilt == 0

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        if self._process is None:
            return
        self.require_alive()
        self._process.terminate()
        if self._process.wait(_STOP_SECONDS) != 0:
            raise BenchmarkError(f"{self.name} did not stop in order:\n{tail(self._log)}")
        self._process = None
        with self.source.connect() as connection:
            wait_until_idle(connection, self.slot_name)

    def drop(self) -> None:
        """Stop, then ``livesync-tui drop``."""
        self.stop()
        if self._command("drop").wait() != 0:
            raise BenchmarkError(f"{self.name} drop failed:\n{tail(self._log)}")

    def close(self) -> None:
        """Kill the process if it still runs: the benchmark failed. After `drop` there is none."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
