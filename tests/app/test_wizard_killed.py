"""The wizard is killed, with or without the process that replicates; started again, it goes on with both."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import psycopg
import pytest

from livesync_tui.demo.dataset import create_demo
from livesync_tui.demo.writer import DemoWriter
from livesync_tui.host.remote_engine import find_hosts
from tests.conftest import Database
from tests.faults.migrating import all_ready, assert_all_equal, states, wait_drained
from tests.waiting import wait_until

_ESCAPES = re.compile(r"\x1b(\[[0-9;?<>=$ ]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")

_QUIET_SECONDS = 0.4

NEXT, BACK_TAB, ENTER, TAB, RIGHT = b"\x0e", b"\x1b[Z", b"\r", b"\t", b"\x1b[C"


class Terminal:
    """``livesync-tui`` on a pseudo-terminal of 80x24, and what it has drawn so far."""

    def __init__(self, source: Database, target: Database, state: Path, sockets: Path) -> None:
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "livesync_tui"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={
                **os.environ,
                "SOURCE": source.conninfo,
                "TARGET": target.conninfo,
                "XDG_STATE_HOME": str(state),
                "XDG_RUNTIME_DIR": str(sockets),
                "TERM": "xterm-256color",
                "LC_ALL": "C.UTF-8",
            },
            start_new_session=True,
        )
        os.close(terminal)
        self._drawn = b""
        self._drawn_at = 0.0
        self._looked_at = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self.process.poll() is None:
            if not select.select([self._controller], [], [], 0.1)[0]:
                continue
            try:
                self._drawn += os.read(self._controller, 65536)
                self._drawn_at = time.monotonic()
            except OSError:
                return

    @property
    def since_last_key(self) -> str:
        return _ESCAPES.sub("", self._drawn[self._looked_at :].decode("utf-8", "replace"))

    def press(self, *keys: bytes, then: str) -> None:
        """Press keys and wait until ``then`` is drawn."""
        self._looked_at = len(self._drawn)
        for key in keys:
            os.write(self._controller, key)
        self.wait_for(then)

    def wait_for(self, words: str) -> None:
        """Until the words are drawn and nothing more is: keys pressed while a step opens are lost."""

        def is_drawn() -> bool:
            return words in self.since_last_key and time.monotonic() - self._drawn_at > _QUIET_SECONDS

        wait_until(is_drawn, describe=lambda: self.since_last_key[-3000:])

    def kill(self) -> None:
        """SIGKILL; the terminal is gone with it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._controller)


def index_names(database: Database) -> list[tuple[str]]:
    """Every index of the migrated schemas."""
    return database.query(
        "select schemaname || '.' || indexname from pg_indexes"
        " where schemaname not in ('pg_catalog', '_ts_live_sync') order by 1"
    )


@pytest.mark.parametrize(
    ("moment", "killed"), [("copying", "wizard"), ("copying", "both"), ("replicating", "both")]
)
def test_killed_and_started_again(  # noqa: PLR0917
    moment: str,
    killed: str,
    source_db: Database,
    target_db: Database,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # The path of a Unix socket has room for 107 bytes.
    sockets = tmp_path_factory.mktemp("s")
    create_demo(source_db.conninfo, rows=60_000)
    writer = DemoWriter(source_db.conninfo, transactions_per_second=150)
    writer.start()
    terminal = Terminal(source_db, target_db, tmp_path, sockets)
    try:
        terminal.wait_for("Which database is moved")
        terminal.press(NEXT, then="Ready for Checks")
        terminal.press(NEXT, then="Ready for User")
        terminal.press(NEXT, then="Next goes on to Tables without")
        terminal.press(NEXT, then="11 of 11 tables chosen")
        terminal.press(NEXT, then="Ready for Schema")
        terminal.press(NEXT, then="statements, pg_dump")
        terminal.press(BACK_TAB, BACK_TAB, ENTER, then="Make the tables?")
        terminal.press(RIGHT, ENTER, then="wait for the rows: Start builds them")
        terminal.press(NEXT, then="to run on the source")
        terminal.press(b"x", then="Run it?")
        terminal.press(RIGHT, ENTER, then="Nothing to do on the source")
        terminal.press(NEXT, then="to run on the source")
        terminal.press(b"x", then="Run it?")
        terminal.press(RIGHT, ENTER, then="The source publishes the")
        terminal.press(NEXT, then="Ready for Review")
        terminal.press(NEXT, then="Nothing has been copied so far")
        with psycopg.connect(target_db.conninfo) as holder:
            if moment == "copying":
                # Somebody holds the table, so that its copy cannot be over too soon.
                holder.execute("lock table shop.audit_log in share mode")
            terminal.press(TAB, ENTER, then="sync workers busy")
            if moment == "copying":
                wait_until(lambda: "d" in states(target_db), describe=lambda: states(target_db))
            else:
                wait_until(lambda: all_ready(target_db), describe=lambda: states(target_db))
            terminal.kill()
            (host,) = find_hosts(sockets / "livesync-tui")
            if killed == "both":
                os.kill(host.pid, signal.SIGKILL)

        terminal = Terminal(source_db, target_db, tmp_path, sockets)
        terminal.wait_for("enter")
        terminal.press(ENTER, then="sync workers busy")
        wait_until(lambda: all_ready(target_db), describe=lambda: states(target_db))
        writer.stop()
        wait_drained(source_db, target_db)
        wait_until(lambda: not target_db.query("select from _ts_live_sync.deferred where state <> 'done'"))
        assert_all_equal(source_db, target_db)
        found = [host.pid for host in find_hosts(sockets / "livesync-tui")]
        assert (found == [host.pid]) is (killed == "wizard")
    finally:
        writer.stop()
        terminal.kill()
        for host in find_hosts(sockets / "livesync-tui"):
            os.kill(host.pid, signal.SIGKILL)
    assert writer.failure is None
    assert index_names(target_db) == index_names(source_db)
    assert target_db.query("select epoch from _ts_live_sync.subscription") == [
        (1 if killed == "wizard" else 2,)
    ]
    saved = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert source_db.conninfo.split("@", 1)[0].rsplit(":", 1)[1] not in saved
