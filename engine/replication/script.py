"""Runs several statements, COPY FROM STDIN among them, as one simple query (PostgreSQL 54.2.2, 54.2.6).

The server runs them one after another and stops at the first that fails; it asks for the data of each COPY
when it gets there. Waiting is done in ``select``, so other threads run meanwhile and a stop is noticed.
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
from engine.replication.pipeline import StoppedWaitingError

_SEND_BYTES = 256 * 1024
"""Data handed to libpq at a time: past the point where the calls' own cost shows."""

_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """One statement of a script."""

    statement: sql.Composable
    data: bytes | None = None
    """For a COPY FROM STDIN."""

    rows: int | None = None
    """How many rows it has to touch, for whoever compares; None when that does not matter."""


def run_script(
    session: Session,
    steps: Sequence[ScriptStep],
    *,
    on_progress: Callable[[], None],
    should_stop: Callable[[], bool],
) -> list[int]:
    """Run ``steps``; how many rows each touched (0 for a statement that touches none).

    Args:
        session: Used by nobody else meanwhile.
        steps: What to run, in order.
        on_progress: Called whenever the target took or answered something.
        should_stop: Looked at while waiting for the target.

    Raises:
        EngineError: The target refused a statement or a row, or was lost.
        StoppedWaitingError: ``should_stop`` said so; the session is of no use any more.
    """
    pgconn = session.pgconn
    counts: list[int] = []
    text = sql.SQL(";\n").join(step.statement for step in steps)
    try:
        pgconn.send_query(text.as_bytes(session))
        while True:
            _wait_for_result(pgconn, should_stop)
            result = pgconn.get_result()
            on_progress()
            if result is None:
                return counts
            if result.status == pq.ExecStatus.COPY_IN:
                _send(pgconn, steps[len(counts)].data or b"", on_progress, should_stop)
                continue
            if result.status == pq.ExecStatus.FATAL_ERROR:
                if not _ends_session(result):
                    _read_to_the_end(pgconn, should_stop)
                raise psycopg.errors.error_from_result(result)
            counts.append(result.command_tuples or 0)
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "writing a batch") from None


def _ends_session(result: pq.abc.PGresult) -> bool:
    """Whether nothing follows this error but the end of the connection (PostgreSQL 54.8)."""
    return result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in (b"FATAL", b"PANIC")


def _read_to_the_end(pgconn: pq.abc.PGconn, should_stop: Callable[[], bool]) -> None:
    """Read what follows, never inside libpq: its wait holds the interpreter."""
    while True:
        _wait_for_result(pgconn, should_stop)
        if pgconn.get_result() is None:
            return


def _send(
    pgconn: pq.abc.PGconn, data: bytes, on_progress: Callable[[], None], should_stop: Callable[[], bool]
) -> None:
    view = memoryview(data)
    for start in range(0, len(data), _SEND_BYTES):
        pgconn.put_copy_data(view[start : start + _SEND_BYTES])
        _flush(pgconn, should_stop)
        on_progress()
    pgconn.put_copy_end()
    _flush(pgconn, should_stop)


def _flush(pgconn: pq.abc.PGconn, should_stop: Callable[[], bool]) -> None:
    while pgconn.flush() == 1:
        readable, writable, _ = select.select([pgconn.socket], [pgconn.socket], [], _WAIT_SECONDS)
        if readable:
            pgconn.consume_input()
        elif not writable and should_stop():
            raise StoppedWaitingError


def _wait_for_result(pgconn: pq.abc.PGconn, should_stop: Callable[[], bool]) -> None:
    _flush(pgconn, should_stop)
    while pgconn.is_busy():
        readable, _, _ = select.select([pgconn.socket], [], [], _WAIT_SECONDS)
        if readable:
            pgconn.consume_input()
        elif should_stop():
            raise StoppedWaitingError
