"""Compares tables row by row while nothing writes: exact, in any row order, with or without a key.

Each server boils its own rows down to a count and two sums over the rows' digests, so the usual answer,
equal, moves a few bytes over the network. Addition does not care about order and counts duplicates, so
this works for any table. Only a table whose digests differ is streamed, sorted, to name some of the rows.

Rows are compared as text: sessions fix every setting that changes it (:mod:`engine.connection.session`),
and the two sides may have different but equally written types.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import LiteralString, TypeVar

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.cutover.outcome import ComparisonProgress, RowDifference, TableComparison
from engine.errors import ConnectionFailedError, EngineError, Side

_BEGIN = "begin transaction isolation level repeatable read read only"

_COLUMNS = """
select a.attname::text,
       c.relkind = 'p' or exists (
           -- A hypertable's rows are in its chunks, which inherit from it.
           select from pg_catalog.pg_inherits i
             join pg_catalog.pg_class chunk on chunk.oid = i.inhrelid
             join pg_catalog.pg_namespace s on s.oid = chunk.relnamespace
            where i.inhparent = c.oid and pg_catalog.starts_with(s.nspname::text, '_timescaledb'))
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  -- A table may have no columns.
  left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p')
 order by a.attnum
"""

# Without "offset 0" the subqueries are flattened, and each row is written and digested more than once.
_DIGEST = """
select pg_catalog.count(*),
       pg_catalog.sum(('x' || pg_catalog.substr(digest, 1, 16))::bit(64)::int8),
       pg_catalog.sum(('x' || pg_catalog.substr(digest, 17, 16))::bit(64)::int8)
  from (select pg_catalog.md5({digested}) as digest
          from (select row({columns})::text as row_text from {rows} offset 0) texts
        offset 0) digests
"""

_SORTED_ROWS = """
copy (
    select head, digest
      from (select pg_catalog.left(row_text, {head_characters}) as head, pg_catalog.md5({digested}) as digest
              from (select row({columns})::text as row_text from {rows} offset 0) texts
            offset 0) heads
     order by {order}, digest collate "C"
) to stdout
"""

_HEAD_CHARACTERS = 200
"""How much of a row is shown; the digest tells apart rows that begin alike."""

_ROWS_NAMED = 10

_WORKERS = 2
"""Tables compared at once. One already keeps both servers busy; the second hides round trips."""

_CANCEL_TIMEOUT_SECONDS = 5.0

Value = TypeVar("Value")
_SortedRow = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Table:
    """One side of a comparison, inside an open transaction."""

    side: Side
    session: Session
    name: TableName
    columns: tuple[str, ...]
    rows_are_below: bool
    """Whether the rows are in partitions or chunks."""

    def rows(self) -> sql.Composed:
        only = sql.SQL("" if self.rows_are_below else "only ")
        return sql.Composed([only, sql.Identifier(self.name.schema, self.name.table)])

    @property
    def _keeps_utf8(self) -> bool:
        # SQL_ASCII holds whatever clients sent, and the engine's send UTF-8.
        return self.session.info.parameter_status("server_encoding") in ("UTF8", "SQL_ASCII")

    def _statement(self, template: LiteralString, columns: Sequence[str]) -> sql.Composed:
        """Fill in a template so that digests and order do not depend on the database's encoding."""
        if self._keeps_utf8:
            digested, order = "row_text", 'head collate "C"'
        else:
            digested, order = "pg_catalog.convert_to(row_text, 'UTF8')", "pg_catalog.convert_to(head, 'UTF8')"
        return sql.SQL(template).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            rows=self.rows(),
            digested=sql.SQL(digested),
            order=sql.SQL(order),
            head_characters=sql.Literal(_HEAD_CHARACTERS),
        )

    def digest(self, columns: Sequence[str]) -> tuple[int, tuple[object, ...]]:
        """How many rows there are, and the sums of their digests."""
        try:
            row = self.session.execute(self._statement(_DIGEST, columns)).fetchone()
        except psycopg.Error as error:
            raise explain(error, self.side, f"comparing {self.name}") from None
        count, *sums = row or (0,)
        return int(str(count)), tuple(sums)

    def sorted_rows(self, columns: Sequence[str]) -> Generator[_SortedRow, None, None]:
        """Beginning and digest of every row, in the order Python sorts them."""
        statement = self._statement(_SORTED_ROWS, columns)
        try:
            with self.session.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(["text", "text"])
                for head_text, digest in copy.rows():
                    yield str(head_text), str(digest)
        except psycopg.Error as error:
            raise explain(error, self.side, f"comparing {self.name}") from None


def compare_table(
    source: Session, target: Session, source_name: TableName, target_name: TableName
) -> TableComparison:
    """Compare one table row by row, both sides at the same time, each in one snapshot.

    Columns are matched by name, generated ones included; one that a side lacks makes the table unequal, and
    the others are compared all the same. A table that a side lacks is an outcome with a ``problem``.

    Args:
        source: A session on the source with no transaction open.
        target: Likewise on the target.
        source_name: The table on the source; rows of its partitions belong to it.
        target_name: Its counterpart.

    Raises:
        EngineError: A side could not be read.
    """
    with _snapshot(source, Side.SOURCE), _snapshot(target, Side.TARGET):
        source_table = _find(Side.SOURCE, source, source_name)
        target_table = _find(Side.TARGET, target, target_name)
        if source_table is None or target_table is None:
            lacking = Side.SOURCE if source_table is None else Side.TARGET
            return _not_compared(source_name, target_name, f"The {lacking.value} does not have this table")
        return _compare(source_table, target_table)


def _compare(source: _Table, target: _Table) -> TableComparison:
    source_only = tuple(name for name in source.columns if name not in target.columns)
    target_only = tuple(name for name in target.columns if name not in source.columns)
    columns = [name for name in source.columns if name in target.columns]
    (source_rows, source_sums), (target_rows, target_sums) = _at_the_same_time(
        source, target, lambda table: table.digest(columns)
    )
    rows_agree = source_rows == target_rows and source_sums == target_sums
    differing: tuple[RowDifference, ...] = ()
    if not rows_agree:
        with (
            closing(source.sorted_rows(columns)) as source_sorted,
            closing(target.sorted_rows(columns)) as target_sorted,
        ):
            differing = tuple(islice(_differences(source_sorted, target_sorted), _ROWS_NAMED))
    return TableComparison(
        source=str(source.name),
        target=str(target.name),
        source_rows=source_rows,
        target_rows=target_rows,
        equal=rows_agree and not source_only and not target_only,
        differing=differing,
        source_only_columns=source_only,
        target_only_columns=target_only,
    )


@contextmanager
def _snapshot(session: Session, side: Side) -> Iterator[None]:
    try:
        session.execute(_BEGIN)
    except psycopg.Error as error:
        raise explain(error, side, "comparing tables") from None
    try:
        yield
    finally:
        try:
            session.execute("rollback")
        except psycopg.Error:
            # The session is gone, and with it the transaction; what ended it was raised before this.
            session.close()


def _find(side: Side, session: Session, name: TableName) -> _Table | None:
    try:
        rows = session.execute(_COLUMNS, (name.schema, name.table)).fetchall()
    except psycopg.Error as error:
        raise explain(error, side, f"reading the columns of {name}") from None
    if not rows:
        return None
    columns = tuple(str(column) for column, _ in rows if column is not None)
    return _Table(side, session, name, columns, bool(rows[0][1]))


def _not_compared(source_name: TableName, target_name: TableName, problem: str) -> TableComparison:
    return TableComparison(str(source_name), str(target_name), 0, 0, equal=False, problem=problem)


def _at_the_same_time(source: _Table, target: _Table, read: Callable[[_Table], Value]) -> tuple[Value, Value]:
    """Read both sides in two threads; when one fails, the other is not waited for."""
    with ThreadPoolExecutor(1, thread_name_prefix="compare-target") as pool:
        reading_target = pool.submit(read, target)
        reading_target.add_done_callback(
            lambda done: None if done.exception() is None else _cancel(source.session)
        )
        try:
            source_value = read(source)
        except BaseException:
            if reading_target.done() and (target_error := reading_target.exception()):
                raise target_error from None
            _cancel(target.session)
            raise
        return source_value, reading_target.result()


def _cancel(session: Session) -> None:
    try:
        session.cancel_safe(timeout=_CANCEL_TIMEOUT_SECONDS)
    except psycopg.Error:
        # Then the statement runs to its end, or the session is gone.
        pass


def _differences(source: Iterable[_SortedRow], target: Iterable[_SortedRow]) -> Iterator[RowDifference]:
    """Walk two sorted multisets side by side and name what only one of them has."""
    source_rows, target_rows = iter(source), iter(target)
    source_row, target_row = next(source_rows, None), next(target_rows, None)
    while source_row is not None or target_row is not None:
        if source_row == target_row:
            source_row, target_row = next(source_rows, None), next(target_rows, None)
        elif target_row is None or (source_row is not None and source_row < target_row):
            assert source_row is not None
            yield RowDifference(Side.SOURCE, _shown(source_row))
            source_row = next(source_rows, None)
        else:
            yield RowDifference(Side.TARGET, _shown(target_row))
            target_row = next(target_rows, None)


def _shown(row: _SortedRow) -> str:
    text = row[0]
    return text if len(text) < _HEAD_CHARACTERS else f"{text[: _HEAD_CHARACTERS - 1]}…"


class _Comparisons:
    """Tables that a few workers share among themselves."""

    def __init__(
        self,
        pairs: Sequence[tuple[TableName, TableName]],
        on_progress: Callable[[ComparisonProgress], None],
    ) -> None:
        self._pairs = pairs
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._next = 0
        self._stopped = False
        self._rows_compared = 0
        self._done: dict[int, TableComparison] = {}

    def results(self) -> tuple[TableComparison, ...]:
        """All comparisons, in the order of the pairs."""
        return tuple(self._done[position] for position in range(len(self._pairs)))

    def work(self, source: Endpoint, target: Endpoint) -> None:
        """Compare tables until none is left or another worker failed."""
        try:
            with ExitStack() as stack:
                # Compiling pays off for nothing that reads each row once.
                source_session, target_session = (
                    stack.enter_context(open_session(endpoint, "compare", extra={"jit": "off"}))
                    for endpoint in (source, target)
                )
                while (position := self._take()) is not None:
                    self._finish(position, self._compare(source_session, target_session, position))
        except BaseException:
            self._stopped = True
            raise

    def _compare(self, source: Session, target: Session, position: int) -> TableComparison:
        source_name, target_name = self._pairs[position]
        try:
            return compare_table(source, target, source_name, target_name)
        except ConnectionFailedError:
            raise
        except EngineError as error:
            # A right that is missing on one table is no reason to know nothing of the others.
            return _not_compared(source_name, target_name, error.failure.sentence())

    def _take(self) -> int | None:
        with self._lock:
            position = self._next
            if self._stopped or position >= len(self._pairs):
                return None
            self._next += 1
            self._report(position)
            return position

    def _finish(self, position: int, comparison: TableComparison) -> None:
        with self._lock:
            self._done[position] = comparison
            self._rows_compared += comparison.source_rows
            self._report(position)

    def _report(self, position: int) -> None:
        self._on_progress(
            ComparisonProgress(
                tables_done=len(self._done),
                tables_total=len(self._pairs),
                rows_compared=self._rows_compared,
                current=str(self._pairs[position][0]),
            )
        )


def compare_tables(
    source: Endpoint,
    target: Endpoint,
    pairs: Sequence[tuple[TableName, TableName]],
    on_progress: Callable[[ComparisonProgress], None],
) -> tuple[TableComparison, ...]:
    """Compare several tables, two at a time, over sessions of its own.

    Args:
        source: The source.
        target: The target.
        pairs: Each table's name on the source and on the target.
        on_progress: Told when a table is begun and when it is done, by one thread at a time, none of them
            the caller's.

    Returns:
        One comparison per pair, in the order of the pairs. A table that could not be read is among them
        with a ``problem``.

    Raises:
        ConnectionFailedError: A server cannot be reached or went away.
        EngineError: A session could not be set up.
    """
    comparisons = _Comparisons(pairs, on_progress)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="compare") as pool:
        workers = [pool.submit(comparisons.work, source, target) for _ in range(min(_WORKERS, len(pairs)))]
    for worker in workers:
        worker.result()
    return comparisons.results()
