"""The host: a process of its own in which one engine runs, whatever becomes of any terminal.

The wizard starts it in a session of its own, so no hang-up reaches it, hands the orders over on stdin, and
waits for one line: ``ready``, or why not as JSON. From then on the host has no standard streams; it logs to a
file and answers views on its socket. SIGTERM makes it finish the open target transaction, record the position
and end. When the engine has ended it lingers, so that a view that comes back learns why.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import livesync_tui
from engine.errors import BlockedError, EngineError, Failure, Retry
from engine.feed import Feed
from engine.replication.engine import Engine
from livesync_tui.host.orders import HostOrders, read_orders
from livesync_tui.host.server import HostServer, about_here
from livesync_tui.host.wire import from_plain, to_plain
from livesync_tui.log_file import log_to_file

LOG_NAME = "host.log"

_READY = "ready"
_START_SECONDS = 30.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.2

_LINGER_SECONDS = 6 * 3600.0
"""A failure at midnight should still be told by the host in the morning."""


def start_host(orders: HostOrders) -> int:
    """Start a host and wait until it listens.

    Returns:
        Its process id.

    Raises:
        EngineError: It did not start; says why.
    """
    package_folder = str(Path(livesync_tui.__file__).parents[1])
    path = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(
        [sys.executable, "-m", "livesync_tui.host.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    too_late = threading.Timer(_START_SECONDS, process.kill)
    too_late.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(orders.to_text())
            process.stdin.close()
        said = process.stdout.readline().strip()
    finally:
        too_late.cancel()
        process.stdout.close()
    if said == _READY:
        # Nobody waits for it here; its end is seen on the socket.
        threading.Thread(target=process.wait, name="livesync-host-reaper", daemon=True).start()
        return process.pid
    process.kill()
    process.wait()
    raise EngineError(_failure_of(said))


def _failure_of(said: str) -> Failure:
    try:
        return from_plain(Failure, json.loads(said))
    except (KeyError, TypeError, ValueError):
        return Failure(
            "The process that replicates did not start",
            hint=f"Its log is {LOG_NAME} in the folder of saved migrations",
        )


def main() -> int:
    """Be a host; the exit code."""
    try:
        orders = read_orders(sys.stdin.read())
        log_to_file(orders.log_folder, LOG_NAME)
        os.chdir("/")
        engine = Engine(orders.config, Feed())
        server = _serve(orders, engine)
    except EngineError as error:
        _say(json.dumps(to_plain(error.failure)))
        return 1
    except OSError as error:
        failure = Failure(f"{orders.socket_path} cannot be used", error.strerror or "", retry=Retry.MANUAL)
        _say(json.dumps(to_plain(failure)))
        return 1
    asked_to_end = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        asked_to_end.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    engine.start()
    _say(_READY)
    _leave_standard_streams()
    try:
        _wait(engine, server, asked_to_end)
    finally:
        server.close()
    return 0


def _serve(orders: HostOrders, engine: Engine) -> HostServer:
    about = about_here(
        orders.config.subscription,
        orders.source_name,
        orders.target_name,
        orders.migration_id,
        datetime.now(UTC),
    )
    try:
        return HostServer(orders.socket_path, about, engine, lambda: engine.join(0))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise BlockedError(
            Failure(
                f"Another process replicates {orders.config.subscription} already",
                hint="livesync-tui attaches to it from its start page",
            )
        ) from None


def _wait(engine: Engine, server: HostServer, asked_to_end: threading.Event) -> None:
    while not engine.join(_POLL_SECONDS):
        if asked_to_end.is_set():
            engine.stop()
            engine.join(_STOP_SECONDS)
            return
    ended = time.monotonic()
    while time.monotonic() - ended < _LINGER_SECONDS:
        if server.goodbye.wait(_POLL_SECONDS) or asked_to_end.is_set():
            return


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _leave_standard_streams() -> None:
    """Point them nowhere: a write to a terminal or pipe that is gone would end the process."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
