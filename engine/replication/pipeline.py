"""Sends prepared statements to the target without waiting for each answer (PostgreSQL 34.5, pipeline mode).

The results come back in order, so each statement leaves a note of what it was; the first that fails, or
that touches another number of rows than it should, is reported with its note. Until the next
:meth:`Pipeline.settle` the server ignores what follows a failed statement, so nothing is applied after it.
"""

from __future__ import annotations

import select
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import ConnectionFailedError, Failure, Retry, Side

MAX_PREPARED_STATEMENTS = 500
"""A backend keeps some ten kilobytes for each; thousands of tables must not exhaust it."""

_PUMP_EVERY = 64
"""Statements between looks at the socket: often enough that neither side's buffer fills and both stall."""

_WAIT_SECONDS = 0.5
"""How long a wait for the target lasts before it looks whether we were asked to stop."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a statement in flight was for."""

    relation_oid: int | None
    """The source table whose change it applies; None for statements of our own."""

    action: str
    """``insert``, ``update``, ``delete`` or a phrase for our own statements."""

    expects_one_row: bool


@dataclass(frozen=True, slots=True)
class Misfit:
    """A statement that did not do what its change says."""

    note: Note
    error: psycopg.Error | None
    """What the server said, or None when it merely touched another number of rows."""

    rows: int


class StatementFailedError(Exception):
    """A statement of the pipeline failed; the open target transaction has to be rolled back."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(misfit.note.action)
        self.misfit = misfit


class StoppedWaitingError(Exception):
    """We were asked to stop while waiting for the target."""


class Pipeline:
    """Pipeline mode on one target session, owned by one thread."""

    def __init__(self, session: Session, should_stop: Callable[[], bool]) -> None:
        self._session = session
        self._pgconn = session.pgconn
        self._should_stop = should_stop
        self._in_flight: deque[Note] = deque()
        self._prepared: OrderedDict[tuple[str, tuple[int, ...]], bytes] = OrderedDict()
        self._statement_count = 0
        self._since_pump = 0
        self._misfit: Misfit | None = None
        self._active = False

    def run(self, statement: str, types: Sequence[int], values: Sequence[bytes | None], note: Note) -> None:
        """Queue one statement, preparing it on first use.

        Args:
            statement: SQL with ``$1`` placeholders.
            types: Type oids of the placeholders.
            values: Text values.
            note: What to say when it fails.

        Raises:
            StatementFailedError: An earlier statement failed.
            ConnectionFailedError: The target is gone.
        """
        try:
            if not self._active:
                self._pgconn.enter_pipeline_mode()
                self._active = True
            # A column's type may change while the statement's text stays.
            key = (statement, tuple(types))
            name = self._prepared.get(key)
            if name is None:
                name = self._prepare(statement, types, note)
            else:
                self._prepared.move_to_end(key)
            self._pgconn.send_query_prepared(name, values)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, note.action) from None
        self._in_flight.append(note)
        self._since_pump += 1
        if self._since_pump >= _PUMP_EVERY:
            self._since_pump = 0
            self._pump()
        if self._misfit is not None:
            raise StatementFailedError(self._misfit)

    def _prepare(self, statement: str, types: Sequence[int], note: Note) -> bytes:
        self._statement_count += 1
        name = f"livesync_{self._statement_count}".encode()
        self._pgconn.send_prepare(name, statement.encode(), list(types))
        self._in_flight.append(Note(note.relation_oid, note.action, expects_one_row=False))
        self._prepared[statement, tuple(types)] = name
        if len(self._prepared) > MAX_PREPARED_STATEMENTS:
            _, oldest = self._prepared.popitem(last=False)
            self._pgconn.send_close_prepared(oldest)
            self._in_flight.append(Note(None, "closing a statement", expects_one_row=False))
        return name

    def forget_prepared(self) -> None:
        """Prepare statements afresh; needed after a rollback that may have undone some."""
        self._prepared.clear()

    def settle(self) -> None:
        """Wait until every queued statement is answered, then leave pipeline mode.

        Raises:
            StatementFailedError: One of them failed; the transaction has to be rolled back.
            StoppedWaitingError: We were asked to stop; the session is of no use any more.
            ConnectionFailedError: The target is gone.
        """
        if self._active:
            try:
                self._pgconn.pipeline_sync()
                while not self._drained():
                    self._wait()
                self._pgconn.exit_pipeline_mode()
            except psycopg.Error as error:
                raise explain(error, Side.TARGET, "applying changes") from None
            self._active = False
            self._since_pump = 0
        if self._misfit is not None:
            misfit, self._misfit = self._misfit, None
            raise StatementFailedError(misfit)

    def abandon(self) -> None:
        """Like :meth:`settle`, after a failure that was reported: one more does not matter any more."""
        try:
            self.settle()
        except StatementFailedError:
            pass  # Everything since the savepoint is about to be rolled back.

    def _wait(self) -> None:
        """Wait until the target takes or gives bytes."""
        wants_write = self._pgconn.flush() == 1
        readable, _, _ = select.select(
            [self._pgconn.socket], [self._pgconn.socket] if wants_write else [], [], _WAIT_SECONDS
        )
        if readable:
            self._pgconn.consume_input()
        elif self._should_stop():
            raise StoppedWaitingError

    def _pump(self) -> None:
        """Push queued bytes out; take whatever answers are there; wait only while the output is stuck."""
        try:
            while self._pgconn.flush() == 1:
                self._wait()
                self._take_results()
            readable, _, _ = select.select([self._pgconn.socket], [], [], 0)
            if readable:
                self._pgconn.consume_input()
                self._take_results()
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "applying changes") from None

    def _take_results(self) -> None:
        """Read the answers that are complete."""
        while self._in_flight and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                # libpq marks the end of each statement's results with a null.
                continue
            self._answered(result)

    def _drained(self) -> bool:
        """Read what is there; True once the sync point's own answer has come."""
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                if self._in_flight:
                    raise ConnectionFailedError(
                        Failure("The target answered fewer statements than were sent", retry=Retry.TIMED)
                    )
                return True
            self._answered(result)
        return False

    def _answered(self, result: pq.abc.PGresult) -> None:
        """Check the answer to the oldest statement in flight.

        Raises:
            EngineError: It answers none: the server ended the session.
        """
        if not self._in_flight:
            raise explain(psycopg.errors.error_from_result(result), Side.TARGET, "applying changes")
        self._check(self._in_flight.popleft(), result)

    def _check(self, note: Note, result: pq.abc.PGresult) -> None:
        if self._misfit is not None or result.status == pq.ExecStatus.PIPELINE_ABORTED:
            return
        if result.status == pq.ExecStatus.FATAL_ERROR:
            self._misfit = Misfit(note, psycopg.errors.error_from_result(result), 0)
        elif note.expects_one_row and result.command_tuples != 1:
            self._misfit = Misfit(note, None, result.command_tuples or 0)
