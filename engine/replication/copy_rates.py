"""How fast tables are being copied, and how long the rest takes; computed from samples of their counters.

A table's share is one of rows, because its COPY stream has another size than what it takes on disk. Tables
are added up by what they take on disk, or a narrow table with many rows would count for more than its work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from engine.snapshot import CopyRate, CopyTotal, TableProgress, TableState

_WINDOW_SECONDS = 10.0
_SHORTEST_SECONDS = 1.0

_TOLERATED_UNKNOWN = 0.1
"""Part of all tables' size that may be in tables of unknown length before the total is not estimated."""


_LEAST_MOVED_BYTES = 1024 * 1024
"""Before so much was copied, the speed of a few small tables would be taken for that of large ones."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """Two counters at one moment."""

    monotonic_seconds: float
    rows: int
    size_bytes: int


class _Window:
    """Two counters over the last several seconds."""

    def __init__(self, first: _Counted | None = None) -> None:
        self._samples: deque[_Counted] = deque([] if first is None else [first])

    def add(self, sample: _Counted) -> None:
        """Take a sample; a table that starts over is measured from its start."""
        samples = self._samples
        if samples and (_has_fallen(samples[-1], sample) or sample.rows == sample.size_bytes == 0):
            samples.clear()
        samples.append(sample)
        while len(samples) > 2 and sample.monotonic_seconds - samples[0].monotonic_seconds > _WINDOW_SECONDS:
            samples.popleft()

    def rate(self, seconds_left: Callable[[float, float], float | None]) -> CopyRate | None:
        """The counters' growth a second; None before there is enough to tell.

        Args:
            seconds_left: From rows a second and bytes a second.
        """
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        span = last.monotonic_seconds - first.monotonic_seconds
        if span < _SHORTEST_SECONDS:
            return None
        rows, size_bytes = (last.rows - first.rows) / span, (last.size_bytes - first.size_bytes) / span
        return CopyRate(rows, size_bytes, seconds_left(rows, size_bytes))


def _has_fallen(before: _Counted, now: _Counted) -> bool:
    return now.rows < before.rows or now.size_bytes < before.size_bytes


class CopyRates:
    """The copies of one subscription as one thread sees them go on."""

    def __init__(self) -> None:
        self._windows: dict[int, _Window] = {}
        self._seen: dict[int, _Counted] = {}
        self._total = _Window()
        self._moved_rows = 0
        self._moved_bytes = 0

    def observe(
        self, tables: Iterable[TableProgress], monotonic_seconds: float
    ) -> tuple[tuple[TableProgress, ...], CopyTotal]:
        """The tables with the rates of those being copied, and all of them together.

        Args:
            tables: All tables as they are now.
            monotonic_seconds: When that is.
        """
        before, self._seen = self._seen, {}
        windows, self._windows = self._windows, {}
        rated = []
        for table in tables:
            rated.append(table)
            seen = before.get(table.source_oid)
            if table.is_copied and seen is None:
                continue
            now = _Counted(monotonic_seconds, table.rows_copied, table.bytes_copied)
            self._add_moved(seen, now)
            if not table.is_copied:
                self._seen[table.source_oid] = now
            if table.state is TableState.DATASYNC and table.last_error is None:
                window = windows.get(table.source_oid) or _Window(seen)
                window.add(now)
                self._windows[table.source_oid] = window
                rated[-1] = replace(table, copy_rate=window.rate(partial(_seconds_left, table)))
        self._total.add(_Counted(monotonic_seconds, self._moved_rows, self._moved_bytes))
        return tuple(rated), self._total_of(rated)

    def _add_moved(self, before: _Counted | None, now: _Counted) -> None:
        """Count what was moved since; a table that started over moves its first rows once more."""
        if before is None:
            return
        started_over = _has_fallen(before, now)
        self._moved_rows += now.rows if started_over else now.rows - before.rows
        self._moved_bytes += now.size_bytes if started_over else now.size_bytes - before.size_bytes

    def _total_of(self, tables: Sequence[TableProgress]) -> CopyTotal:
        taking_part = [table for table in tables if table.last_error is None]
        percent = _total_percent(taking_part)
        has_basis = percent is not None and self._moved_bytes >= _LEAST_MOVED_BYTES
        left = _bytes_left(taking_part) if has_basis else None
        return CopyTotal(
            rows=sum(table.rows_copied for table in tables),
            size_bytes=sum(table.bytes_copied for table in tables),
            percent=percent,
            exceeds_estimate=percent is None and any(table.exceeds_estimate for table in taking_part),
            rate=None
            if all(table.is_copied for table in taking_part)
            else self._total.rate(
                lambda _, bytes_per_second: left / bytes_per_second if left and bytes_per_second else None
            ),
        )


def _seconds_left(table: TableProgress, rows_per_second: float, _: float) -> float | None:
    rows_left = (table.approximate_rows or 0) - table.rows_copied
    return rows_left / rows_per_second if rows_left > 0 and rows_per_second else None


def _total_percent(tables: Sequence[TableProgress]) -> int | None:
    if all(table.is_copied for table in tables):
        return 100 if tables else None
    whole = unknown = 0
    done = 0.0
    for table in tables:
        if table.approximate_size_bytes is None:
            return None
        whole += table.approximate_size_bytes
        share = table.copied_share
        if share is None:
            unknown += table.approximate_size_bytes
        else:
            done += share * table.approximate_size_bytes
    if not whole or unknown > whole * _TOLERATED_UNKNOWN:
        return None
    return min(99, int(done * 100 / whole))


def _bytes_left(tables: Sequence[TableProgress]) -> float:
    """About how many bytes the COPY streams still have to carry.

    A table that has begun tells by its rows so far how long its stream is. For one that has not, it is its
    size on disk times what that factor was for the others.
    """
    on_disk = streamed = left = 0.0
    not_begun = 0
    for table in tables:
        size, share = table.approximate_size_bytes or 0, table.copied_share
        if share == 0.0:
            not_begun += size
        elif share is not None and table.bytes_copied:
            on_disk += size * share
            streamed += table.bytes_copied
            left += table.bytes_copied * (1.0 - share) / share
    return left + not_begun * (streamed / on_disk if on_disk else 1.0)
