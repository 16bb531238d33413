"""A logical replication connection: create a slot with its snapshot, or stream a slot.

One :class:`ReplicationConnection` is owned by one thread. libpq's calls never block here: data is taken
without waiting and waiting happens in ``select``, so that the interpreter lock is free meanwhile and a
stop request is noticed.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

import psycopg
from psycopg import pq, sql

from engine.connection.deadline import deadline
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Failure, Retry, Side
from engine.lsn import format_lsn, parse_lsn
from engine.replication.protocol import encode_status_update

SLOT_LOCK_TIMEOUT_SECONDS = 2
"""How long one attempt at creating a slot waits for running transactions before it says who they are."""

_CREATE_SECONDS = 120.0
"""How long one attempt may take in all: besides waiting for transactions the source reads some WAL."""

_BURST_MESSAGES = 1000
"""Messages read before looking at anything else: some milliseconds."""

_LOCK_NOT_AVAILABLE = "55P03"

_UNDEFINED_OBJECT = "42704"

_NOT_SUPPORTED = "0A000"
"""What pgoutput raises when publications disagree about a table's columns (PostgreSQL 29.5)."""

_MISSING_HINT = (
    "Create the publication named above again with the same tables, then run again. If the same error comes "
    "back, rows changed while it was missing and cannot be had: start over (livesync-tui drop, empty the "
    "target tables, run)"
)

_DIFFERENT_COLUMNS_HINT = (
    "If publications disagree about the table's columns: make them agree, then run again. If the same error "
    "comes back, rows changed while they disagreed, and these can only be read through one of them: run "
    "with one --publication that publishes all the tables"
)


class StreamEndedError(Exception):
    """The source ended the stream in an orderly way (shutdown, or the slot was dropped)."""


def stream_ended_failure() -> Failure:
    """What to show when the source ended the stream in an orderly way."""
    return Failure(
        title="The source ended the replication stream",
        hint="Nothing to do if the source is being restarted",
        side=Side.SOURCE,
        retry=Retry.TIMED,
    )


@dataclass(frozen=True, slots=True)
class CreatedSlot:
    """A new slot and the snapshot that belongs to it."""

    consistent_lsn: int
    """Everything committed before it is in the snapshot, everything after it comes through the slot."""

    snapshot: str
    """For SET TRANSACTION SNAPSHOT, valid while the connection that made it stays open and idle."""


class ReplicationConnection:
    """A walsender session on the source."""

    def __init__(
        self, endpoint: Endpoint, purpose: str, *, lock_timeout_seconds: int = SLOT_LOCK_TIMEOUT_SECONDS
    ) -> None:
        self._session: Session = open_session(
            endpoint,
            purpose,
            replication=True,
            extra={"lock_timeout": f"{lock_timeout_seconds}s"},
        )
        self._pgconn = self._session.pgconn
        self._received_lsn = 0

    def __enter__(self) -> ReplicationConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def session(self) -> Session:
        """The session itself, for a deadline."""
        return self._session

    @property
    def received_lsn(self) -> int:
        """How far messages were read."""
        return self._received_lsn

    def close(self) -> None:
        """End the session; a temporary snapshot made by it is gone."""
        self._session.close()

    def create_slot(
        self,
        name: str,
        *,
        on_blocked: Callable[[], None],
        should_stop: Callable[[], bool],
        is_temporary: bool = False,
    ) -> CreatedSlot | None:
        """Create a logical slot and export its snapshot (PostgreSQL 54.4 CREATE_REPLICATION_SLOT).

        Creation waits for every transaction that is writing now. Each attempt is bounded by lock_timeout
        (statement_timeout does not reach this wait); between attempts ``on_blocked`` may name the blocker.

        Args:
            name: Of the slot.
            on_blocked: Called after an attempt that a transaction kept from succeeding.
            should_stop: Looked at before each attempt.
            is_temporary: Whether the slot goes with this connection.

        Returns:
            The slot, or None when ``should_stop`` said so.

        Raises:
            EngineError: The source refused, for example because no slot is free.
        """
        statement = sql.SQL("CREATE_REPLICATION_SLOT {}{} LOGICAL pgoutput {}").format(
            sql.Identifier(name),
            sql.SQL(" TEMPORARY" if is_temporary else ""),
            sql.SQL("(SNAPSHOT 'export')")
            if self._session.info.server_version >= 150000
            else sql.SQL("EXPORT_SNAPSHOT"),
        )
        while not should_stop():
            try:
                with deadline(_CREATE_SECONDS, self._session):
                    row = self._session.execute(statement).fetchone()
            except psycopg.Error as error:
                if error.sqlstate == _LOCK_NOT_AVAILABLE:
                    on_blocked()
                    continue
                raise explain(error, Side.SOURCE, f"creating the replication slot {name}") from None
            assert row is not None
            return CreatedSlot(parse_lsn(str(row[1])), str(row[2]))
        return None

    def release_snapshot(self, purpose: str) -> None:
        """End the transaction that holds a new slot's snapshot; from now on it is for ``purpose``.

        Raises:
            EngineError: The connection broke.
        """
        name = sql.Literal(f"livesync-tui {purpose}")
        try:
            # Any command ends it.
            self._session.execute(
                sql.SQL("select pg_catalog.set_config('application_name', {}, false)").format(name)
            )
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "releasing a slot's snapshot") from None

    def system_identifier(self) -> str:
        """The source cluster's identifier (PostgreSQL 54.4 IDENTIFY_SYSTEM); needs no further right.

        Raises:
            EngineError: The connection broke.
        """
        try:
            row = self._session.execute("IDENTIFY_SYSTEM").fetchone()
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "identifying the system") from None
        assert row is not None
        return str(row[0])

    def start(self, slot_name: str, publications: Sequence[str], start_lsn: int) -> None:
        """Begin streaming (PostgreSQL 54.4 START_REPLICATION, 54.5 pgoutput options).

        Args:
            slot_name: An existing pgoutput slot of this database.
            publications: Names of existing publications.
            start_lsn: Transactions whose commit record starts before it are not sent.

        Raises:
            EngineError: The source refused, for example because the slot is gone or in use.
        """
        names = sql.SQL(",").join(sql.Identifier(name) for name in publications).as_string(self._session)
        options = [("proto_version", "1"), ("publication_names", names)]
        if self._session.info.server_version >= 140000:
            options.append(("messages", "true"))
        statement = sql.SQL("START_REPLICATION SLOT {} LOGICAL {} ({})").format(
            sql.Identifier(slot_name),
            sql.SQL(format_lsn(start_lsn)),
            sql.SQL(", ").join(
                # The replication grammar knows no E'…': a backslash stands for itself.
                sql.SQL("{} {}").format(sql.SQL(key), sql.SQL("'" + value.replace("'", "''") + "'"))
                for key, value in options
            ),
        )
        self._pgconn.send_query(statement.as_bytes(self._session))
        while self._pgconn.flush():
            select.select([], [self._pgconn.socket], [])
        result = self._next_result()
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            raise self._refused(result, f"starting replication from slot {slot_name}")
        self._received_lsn = start_lsn

    def fileno(self) -> int:
        """For ``select``."""
        return self._pgconn.socket

    def read_burst(self, take: Callable[[bytes], bool]) -> int:
        """Pass messages that have arrived to ``take``, without waiting for more.

        Args:
            take: Gets each CopyData message; True ends the burst.

        Returns:
            How many there were, at most :data:`_BURST_MESSAGES`.

        Raises:
            StreamEndedError: The source ended the stream; everything before was passed on.
            EngineError: The connection broke or the source reported an error; likewise.
        """
        get_copy_data = self._pgconn.get_copy_data
        messages = 0
        try:
            length, data = get_copy_data(1)
            if length == 0:
                self._pgconn.consume_input()
                length, data = get_copy_data(1)
            while length > 0:
                messages += 1
                message = bytes(data)
                if take(message) or messages >= _BURST_MESSAGES:
                    break
                length, data = get_copy_data(1)
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "reading the replication stream") from None
        if length == -1:
            result = self._next_result()
            if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
                raise self._refused(result, "streaming changes")
            raise StreamEndedError
        if messages:
            # An XLogData message and a keepalive both begin with their kind and a position.
            self._received_lsn = max(self._received_lsn, int.from_bytes(message[1:9], "big"))
        return messages

    def send_status(self, flushed_lsn: int, *, reply_requested: bool = False) -> None:
        """Tell the source how far everything is durable on the target.

        Raises:
            EngineError: The connection broke.
        """
        update = encode_status_update(
            max(self._received_lsn, flushed_lsn), flushed_lsn, reply_requested=reply_requested
        )
        try:
            self._pgconn.put_copy_data(update)
            self._pgconn.flush()
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "answering the replication stream") from None

    def _next_result(self) -> pq.abc.PGresult | None:
        while self._pgconn.is_busy():
            select.select([self._pgconn.socket], [], [])
            try:
                self._pgconn.consume_input()
            except psycopg.Error as error:
                raise explain(error, Side.SOURCE, "replicating") from None
        return self._pgconn.get_result()

    def _refused(self, result: pq.abc.PGresult | None, doing: str) -> EngineError:
        if result is None:
            return EngineError(Failure(f"The source sent nothing while {doing}", retry=Retry.TIMED))
        error = explain(psycopg.errors.error_from_result(result), Side.SOURCE, doing)
        if error.failure.sqlstate == _UNDEFINED_OBJECT and not error.failure.hint:
            return EngineError(replace(error.failure, hint=_MISSING_HINT))
        if error.failure.sqlstate == _NOT_SUPPORTED and not error.failure.hint:
            return EngineError(replace(error.failure, hint=_DIFFERENT_COLUMNS_HINT))
        return error
