"""Memory of a process and its children, from /proc."""

from __future__ import annotations

import threading
from types import TracebackType

from benchmarks.errors import BenchmarkError
from benchmarks.processes import PROC, descendants

_SAMPLE_SECONDS = 0.05


class ResidentMemory:
    """Samples resident memory while a ``with`` block runs.

    Raises:
        BenchmarkError: This system has no /proc.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="resident-memory", daemon=True)
        self.peak_bytes = 0
        """The largest sum over the process and its children; of the process alone the kernel's own high-water
        mark, which misses nothing between two samples."""

    def __enter__(self) -> ResidentMemory:
        if _bytes_of(self._pid, "VmRSS") == 0:
            raise BenchmarkError("Memory cannot be measured here: /proc does not tell it")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            together = sum(_bytes_of(pid, "VmRSS") for pid in descendants(self._pid))
            self.peak_bytes = max(self.peak_bytes, together, _bytes_of(self._pid, "VmHWM"))


def _bytes_of(pid: int, field: str) -> int:
    """One field of a process's status; 0 when it has ended."""
    try:
        for line in (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    except OSError:
        pass
    return 0
