"""``livesync-tui run`` as a process of its own, so that it can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import Database


class RunProcess:
    """One ``livesync-tui run``; its output goes to a file."""

    def __init__(
        self,
        source: Database,
        target: Database,
        log: Path,
        *,
        subscription: str = "night",
        publication: str = "pub",
        arguments: tuple[str, ...] = (),
        source_conninfo: str | None = None,
        target_conninfo: str | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "livesync_tui",
                    "run",
                    "--publication",
                    publication,
                    "--subscription",
                    subscription,
                    *arguments,
                ],
                # Another way to the same databases: through a proxy.
                env={
                    **os.environ,
                    "SOURCE": source_conninfo or source.conninfo,
                    "TARGET": target_conninfo or target.conninfo,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, no chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(90)

    def __enter__(self) -> RunProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_alive:
            self.kill()
