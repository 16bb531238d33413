"""Copies rows of one table from a snapshot of the source into the target, bytes passed through untouched.

In text, what the source's output functions wrote is what the target's input functions read, also across
major versions and column types; in binary where :mod:`engine.replication.copy_format` finds that safe. Each
CopyData message of COPY TO is one row (PostgreSQL 54.2.6); in binary the first one brings the header too,
and one more brings the trailer.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq, sql

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.replication.copy_format import HEADER, LAST_MESSAGES, TRAILER, fits_binary
from engine.replication.copy_plan import CopyRange
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.publication import PublishedTable
from engine.replication.target_table import TargetTable, match_columns

_SEND_BYTES = 256 * 1024
"""Rows joined into one write: past the point where the calls' own cost shows; four times as much takes
twice the time, because each piece is then fetched from the system anew."""

_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Copied:
    """How much one copy moved."""

    rows: int
    size_bytes: int


def copy_rows(
    source: Session,
    target: Session,
    table: PublishedTable,
    target_table: TargetTable,
    *,
    part: CopyRange | None = None,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> Copied:
    """Copy the published rows of ``table``, or those of one range, into ``target_table``.

    Args:
        source: In a transaction with the slot's snapshot.
        target: In the transaction that also records the table's new state, or checks the epoch.
        table: What to read: published columns and rows.
        target_table: Where to write; columns are matched by name.
        part: Which of the rows; None for all.
        on_progress: Called with rows and bytes moved so far, about every 256 KiB.
        should_stop: Looked at while waiting for either side.

    Raises:
        TableError: The target lacks a column.
        EngineError: Either side refused or was lost; the message says which.
        StoppedWaitingError: ``should_stop`` said so.
    """
    matched = match_columns(table.name, table.columns, target_table)
    columns = [column for _, column in matched]
    is_binary = fits_binary([table.column_types[position] for position, _ in matched], columns)
    read = _copy_out_statement(table, [table.columns[position] for position, _ in matched], part, is_binary)
    write = _copy_in_statement(target_table, [column.name for column in columns], is_binary)
    reading, writing = f"reading {table.name}", f"copying into {target_table.name}"
    _begin_copy(target, write, Side.TARGET, writing, should_stop)
    _begin_copy(source, read, Side.SOURCE, reading, should_stop)
    rows, size_bytes = 0, 0
    pending: list[bytes] = []
    pending_bytes = 0
    get_copy_data = source.pgconn.get_copy_data
    length, is_complete = 0, False
    while length >= 0:
        # What has arrived, joined at once: libpq gives each row a piece of memory of its own, and a few
        # hundred of these at a time stay in the processor's cache. A third less time than keeping thousands.
        burst: list[memoryview] = []
        try:
            length, data = get_copy_data(1)
            while length > 0:
                burst.append(data)
                length, data = get_copy_data(1)
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, reading) from None
        if burst:
            is_complete = is_binary and burst[-1] in LAST_MESSAGES
            rows += len(burst) - is_complete
            block = b"".join(burst)
            pending.append(block)
            pending_bytes += len(block)
        if pending_bytes >= _SEND_BYTES or (length < 0 and pending):
            has_spoken = _send(target, b"".join(pending), writing, should_stop)
            size_bytes += pending_bytes
            pending, pending_bytes = [], 0
            on_progress(rows, size_bytes)
            if has_spoken and length == 0 and not is_complete:
                # Nearly always a refusal, which libpq tells only at the end of a COPY; the rest of a large
                # table would be read and thrown away until then. After a mere notice the next COPY goes on.
                if is_binary:
                    _send(target, TRAILER, writing, should_stop)
                    pending = [HEADER]
                _end_copy(target, writing, should_stop)
                _begin_copy(target, write, Side.TARGET, writing, should_stop)
        if length == 0:
            _wait_readable(source, Side.SOURCE, reading, should_stop)
    _finish(source, Side.SOURCE, reading, should_stop)
    _end_copy(target, writing, should_stop)
    return Copied(rows, size_bytes)


def hold_rows(source: Session, table: PublishedTable, should_stop: Callable[[], bool]) -> None:
    """Keep ``table``, its partitions and its indexes from being rewritten until the transaction ends.

    By reading none of them: LOCK TABLE would need a right to the whole table where that to its published
    columns is enough.

    Raises:
        EngineError: The source refused, or its lock_timeout passed.
        StoppedWaitingError: ``should_stop`` said so.
    """
    statement = sql.SQL("copy (select {} from {}{} limit 0) to stdout").format(
        _names(table.columns), _only(table), sql.Identifier(table.name.schema, table.name.table)
    )
    doing = f"locking {table.name}"
    _begin_copy(source, statement, Side.SOURCE, doing, should_stop)
    try:
        while source.pgconn.get_copy_data(1)[0] == 0:
            _wait_readable(source, Side.SOURCE, doing, should_stop)
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, doing) from None
    _finish(source, Side.SOURCE, doing, should_stop)


def _end_copy(target: Session, doing: str, should_stop: Callable[[], bool]) -> None:
    try:
        target.pgconn.put_copy_end()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, doing) from None
    _finish(target, Side.TARGET, doing, should_stop)


def _copy_out_statement(
    table: PublishedTable, columns: Sequence[str], part: CopyRange | None, is_binary: bool
) -> sql.Composed:
    name = table.name if part is None else part.relation
    relation, names = sql.Identifier(name.schema, name.table), _names(columns)
    # A table without columns has rows too, which no list of columns can name.
    # COPY of a chunk itself would leave out what is written in columns.
    reads_table = not (table.is_partitioned or table.is_chunk)
    if columns and part is None and reads_table and table.row_filter is None:
        return sql.SQL("copy {} ({}) to stdout{}").format(relation, names, _format(is_binary))
    conditions: list[sql.Composable] = []
    if table.row_filter is not None:
        # The source's own text of the publication's condition, as pg_get_expr wrote it.
        conditions.append(sql.SQL("({})").format(sql.SQL(table.row_filter)))
    if part is not None and part.condition is not None:
        conditions.append(part.condition)
    where = sql.SQL(" where ") if conditions else sql.SQL("")
    return sql.SQL("copy (select {} from {}{}{}{}) to stdout{}").format(
        names,
        _only(table) if part is None else sql.SQL("only "),
        relation,
        where,
        sql.SQL(" and ").join(conditions),
        _format(is_binary),
    )


def _copy_in_statement(table: TargetTable, columns: Sequence[str], is_binary: bool) -> sql.Composed:
    listed = sql.SQL(" ({})").format(_names(columns)) if columns else sql.SQL("")
    return sql.SQL("copy {}{} from stdin{}").format(
        sql.Identifier(table.name.schema, table.name.table), listed, _format(is_binary)
    )


def _format(is_binary: bool) -> sql.SQL:
    return sql.SQL(" (format binary)") if is_binary else sql.SQL("")


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _only(table: PublishedTable) -> sql.SQL:
    return sql.SQL("") if table.is_partitioned or table.is_chunk else sql.SQL("only ")


def _begin_copy(
    session: Session,
    statement: sql.Composed,
    side: Side,
    doing: str,
    should_stop: Callable[[], bool],
) -> None:
    """Send COPY and wait until the server is ready for the data; it may first wait for a lock."""
    pgconn = session.pgconn
    try:
        pgconn.send_query(statement.as_bytes(session))
        while pgconn.flush() == 1:
            select.select([], [pgconn.socket], [], _WAIT_SECONDS)
    except psycopg.Error as error:
        raise explain(error, side, doing) from None
    while pgconn.is_busy():
        _wait_readable(session, side, doing, should_stop)
    result = pgconn.get_result()
    expected = pq.ExecStatus.COPY_IN if side is Side.TARGET else pq.ExecStatus.COPY_OUT
    if result is None or result.status != expected:
        raise _refused(result, side, doing)


def _send(target: Session, data: bytes, doing: str, should_stop: Callable[[], bool]) -> bool:
    """Send whole rows; whether the target was seen to say something meanwhile."""
    pgconn = target.pgconn
    has_spoken = False
    try:
        pgconn.put_copy_data(data)
        while pgconn.flush() == 1:
            readable, writable, _ = select.select([pgconn.socket], [pgconn.socket], [], _WAIT_SECONDS)
            if readable:
                pgconn.consume_input()
                has_spoken = True
            elif not writable and should_stop():
                raise StoppedWaitingError
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, doing) from None
    return has_spoken


def _wait_readable(session: Session, side: Side, doing: str, should_stop: Callable[[], bool]) -> None:
    readable, _, _ = select.select([session.pgconn.socket], [], [], _WAIT_SECONDS)
    if should_stop():
        raise StoppedWaitingError
    if readable:
        try:
            session.pgconn.consume_input()
        except psycopg.Error as error:
            raise explain(error, side, doing) from None


def _finish(session: Session, side: Side, doing: str, should_stop: Callable[[], bool]) -> None:
    """Read the command's own result; COPY FROM reports a bad row only here."""
    failed: pq.abc.PGresult | None = None
    while True:
        while session.pgconn.is_busy():
            _wait_readable(session, side, doing, should_stop)
        result = session.pgconn.get_result()
        if result is None:
            break
        if result.status == pq.ExecStatus.FATAL_ERROR:
            failed = result
    if failed is not None:
        raise _refused(failed, side, doing)


def _refused(result: pq.abc.PGresult | None, side: Side, doing: str) -> Exception:
    # What may follow stays unread, nobody uses the session any more. Asking for it would wait inside libpq,
    # which holds the interpreter meanwhile: for ever, behind a link that lost the server's goodbye.
    if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
        return explain(psycopg.OperationalError("the server answered COPY with something else"), side, doing)
    return explain(psycopg.errors.error_from_result(result), side, doing)
