"""Compares every table of a subscription at one position, while both sides are written to.

Each side reads its own rows in stretches of its own pages, several at a time, and sends back a few thousand
sums for each; so the usual answer, equal, costs one sequential reading of each side and hardly any traffic.
Only a table whose sums differ is read again, to name rows (:mod:`engine.verification.narrow`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from typing import TypeVar

from engine.connection.endpoint import Endpoint
from engine.connection.session import Session
from engine.cutover.outcome import ComparisonProgress, TableComparison
from engine.errors import ConnectionFailedError, EngineError, Side
from engine.lsn import format_lsn
from engine.replication.publication import list_published_tables
from engine.replication.state import StateStore
from engine.verification.digest import Buckets, FoundRow, Reader, Sums, uses_fast_digest
from engine.verification.groups import Group, Grouping, group_tables
from engine.verification.layout import Layout, Part, Reading, read_layout
from engine.verification.moment import Moment, both_at_one_position
from engine.verification.narrow import BUCKET_BITS, Narrowed, narrow
from engine.verification.outcome import Verification
from engine.verification.scan_pool import ScanPool

_SESSIONS = 4
"""On each side, as many as table syncs take by default."""

Value = TypeVar("Value")


def verify(
    source: Endpoint,
    target: Endpoint,
    subscription: str,
    *,
    is_quick: bool = False,
    on_progress: Callable[[ComparisonProgress], None],
    on_wait: Callable[[str], None],
) -> Verification:
    """Compare both sides of ``subscription`` at one position of the source.

    Args:
        source: The source.
        target: The target, where the subscription's state is.
        subscription: Its name; an engine may run it, here or anywhere.
        is_quick: Compare numbers of rows only.
        on_progress: Told when a table is begun, read in part or done; by one thread at a time, none of them
            the caller's.
        on_wait: Told in words what is waited for before the comparison begins.

    Returns:
        What was found. A table that could not be read is among the comparisons with a ``problem``.

    Raises:
        BlockedError: Something has to be changed first, see :mod:`engine.verification.moment`.
        ConnectionFailedError: A server cannot be reached or went away.
        EngineError: A server refused.
    """
    began = time.monotonic()
    with both_at_one_position(source, target, subscription, sessions=_SESSIONS, on_wait=on_wait) as moment:
        grouping = _group(moment, subscription)
        is_fast = uses_fast_digest((*moment.source[:1], *moment.target[:1]))
        comparisons = _compare_all(moment, grouping, Reader(is_fast=is_fast), is_quick, on_progress)
    return Verification(
        lsn=format_lsn(moment.lsn),
        taken_at=moment.taken_at,
        is_quick=is_quick,
        comparisons=comparisons,
        not_compared=grouping.not_compared,
        seconds=time.monotonic() - began,
        standstill_seconds=moment.standstill_seconds,
    )


def _group(moment: Moment, subscription: str) -> Grouping:
    rows = StateStore(moment.target[0], subscription).tables()
    published = list_published_tables(moment.source[0], moment.subscription.publications)
    return group_tables(rows, published, moment.lsn)


def _compare_all(
    moment: Moment,
    grouping: Grouping,
    reader: Reader,
    is_quick: bool,
    on_progress: Callable[[ComparisonProgress], None],
) -> tuple[TableComparison, ...]:
    progress = _Progress(grouping.groups, on_progress)
    with (
        ScanPool(Side.SOURCE, moment.source) as source,
        ScanPool(Side.TARGET, moment.target) as target,
        ThreadPoolExecutor(_SESSIONS, thread_name_prefix="verify") as workers,
    ):
        comparing = _Comparing(source, target, reader, is_quick, progress)
        futures = [workers.submit(comparing.compare, group) for group in grouping.groups]
        try:
            _wait(futures)
            return tuple(future.result() for future in futures)
        except BaseException:
            # Before the block is left, which waits for its threads.
            for pool in (source, target):
                pool.stop()
            raise


class _Progress:
    """Counts for whoever watches."""

    def __init__(self, groups: Sequence[Group], on_progress: Callable[[ComparisonProgress], None]) -> None:
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._tables_total = len(groups)
        self._rows_total = sum(group.approximate_rows for group in groups)
        self._tables_done = 0
        self._rows = 0
        self._current = ""

    def begun(self, group: Group) -> None:
        with self._lock:
            self._current = group.name
            self._report()

    def read(self, rows: int) -> None:
        with self._lock:
            self._rows += rows
            self._report()

    def done(self, group: Group) -> None:
        with self._lock:
            self._tables_done += 1
            self._current = group.name
            self._report()

    def _report(self) -> None:
        self._on_progress(
            ComparisonProgress(
                tables_done=self._tables_done,
                tables_total=self._tables_total,
                rows_compared=self._rows,
                current=self._current,
                rows_total=self._rows_total,
            )
        )


class _Comparing:
    """Compares groups; safe from several threads, each with a group of its own."""

    def __init__(
        self, source: ScanPool, target: ScanPool, reader: Reader, is_quick: bool, progress: _Progress
    ) -> None:
        self._source = source
        self._target = target
        self._reader = reader
        self._is_quick = is_quick
        self._progress = progress

    def compare(self, group: Group) -> TableComparison:
        """Compare one group.

        Raises:
            ConnectionFailedError: A server went away.
        """
        self._progress.begun(group)
        try:
            return self._compare(group)
        except ConnectionFailedError:
            raise
        except EngineError as error:
            # A right that is missing on one table is no reason to know nothing of the others.
            problem = error.failure.sentence()
            return TableComparison(group.name, str(group.target), 0, 0, equal=False, problem=problem)
        finally:
            self._progress.done(group)

    def _compare(self, group: Group) -> TableComparison:
        layout = self._source.submit(
            lambda source: self._target.submit(lambda target: read_layout(source, target, group)).result()
        ).result()
        source, target = self._sums(layout, self._first_look, on_rows=self._progress.read)
        is_equal = source == target
        narrowed = None if is_equal or self._is_quick else self._narrow(layout, source, target)
        return TableComparison(
            source=group.name,
            target=str(group.target),
            source_rows=_rows(source),
            target_rows=_rows(target),
            equal=is_equal and not layout.source_only_columns,
            differing=() if narrowed is None else narrowed.rows,
            source_only_columns=layout.source_only_columns,
            target_only_columns=layout.target_only_columns,
            more_differ=narrowed is not None and narrowed.is_cut,
        )

    def _first_look(self, session: Session, reading: Reading, part: Part) -> Sums:
        if self._is_quick:
            return self._reader.count(session, reading, part)
        return self._reader.sums(session, reading, part, BUCKET_BITS, None)

    def _narrow(self, layout: Layout, source: Sums, target: Sums) -> Narrowed:
        def finer(bits: int, within: Buckets) -> tuple[Sums, Sums]:
            return self._sums(layout, partial(self._reader.sums, bits=bits, within=within))

        return narrow(
            source,
            target,
            layout.key_columns,
            sums_of=finer,
            rows_of=lambda within: self._found(layout, partial(self._reader.rows, within=within)),
            rows_of_keys=lambda keys: self._found_by_key(layout, keys),
        )

    def _sums(
        self,
        layout: Layout,
        read: Callable[[Session, Reading, Part], Sums],
        on_rows: Callable[[int], None] = lambda rows: None,
    ) -> tuple[Sums, Sums]:
        """Read all parts of both sides and add them up as they come in."""
        source, target = _Adding(on_rows), _Adding(lambda rows: None)
        self._read_parts(
            layout, lambda *where: source.add(read(*where)), lambda *where: target.add(read(*where))
        )
        return source.sums, target.sums

    def _found(
        self, layout: Layout, read: Callable[[Session, Reading, Part], dict[int, FoundRow]]
    ) -> tuple[dict[int, FoundRow], dict[int, FoundRow]]:
        source, target = _Gathering(), _Gathering()
        self._read_parts(
            layout, lambda *where: source.add(read(*where)), lambda *where: target.add(read(*where))
        )
        return source.rows, target.rows

    def _found_by_key(
        self, layout: Layout, keys: Collection[tuple[str, ...]]
    ) -> tuple[dict[int, FoundRow], dict[int, FoundRow]]:
        source, target = _Gathering(), _Gathering()

        def look(gathering: _Gathering, reading: Reading, session: Session) -> None:
            gathering.add(self._reader.rows_of_keys(session, reading, keys))

        _wait(
            [self._source.submit(partial(look, source, reading)) for reading in layout.sources]
            + [self._target.submit(partial(look, target, layout.target))]
        )
        return source.rows, target.rows

    def _read_parts(
        self,
        layout: Layout,
        read_source: Callable[[Session, Reading, Part], None],
        read_target: Callable[[Session, Reading, Part], None],
    ) -> None:
        def task(
            read: Callable[[Session, Reading, Part], None], reading: Reading, part: Part
        ) -> Callable[[Session], None]:
            return lambda session: read(session, reading, part)

        _wait(
            [
                self._source.submit(task(read_source, reading, part))
                for reading in layout.sources
                for part in reading.parts
            ]
            + [self._target.submit(task(read_target, layout.target, part)) for part in layout.target.parts]
        )


class _Adding:
    """Sums of several parts."""

    def __init__(self, on_rows: Callable[[int], None]) -> None:
        self._on_rows = on_rows
        self._lock = threading.Lock()
        self.sums: Sums = {}

    def add(self, part: Sums) -> None:
        with self._lock:
            for bucket, (count, total) in part.items():
                before = self.sums.get(bucket, (0, 0))
                if count:
                    self.sums[bucket] = (before[0] + count, before[1] + total)
        self._on_rows(_rows(part))


class _Gathering:
    """Rows of several parts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows: dict[int, FoundRow] = {}

    def add(self, part: dict[int, FoundRow]) -> None:
        with self._lock:
            for digest, row in part.items():
                before = self.rows.get(digest)
                self.rows[digest] = row if before is None else FoundRow(before.count + row.count, before.key)


def _rows(sums: Sums) -> int:
    return sum(count for count, _ in sums.values())


def _wait(readings: Sequence[Future[Value]]) -> None:
    """Until all are done; after a failure no further one is begun.

    Raises:
        EngineError: What failed first.
    """
    try:
        for done in as_completed(readings):
            done.result()
    except BaseException:
        for reading in readings:
            reading.cancel()
        raise
