"""Applies the messages of one stream to the target, whole source transactions, in commit order.

The exactly-once rule lives here: the position is written by the same target transaction as the rows.
Several source transactions may share one target transaction; a source transaction is never split over
two. What has been committed on the target with ``synchronous_commit`` on is durable, and only that is
confirmed to the source.

Changes are gathered into batches and written fast: the net effect of each row by COPY and one statement for
many rows (:mod:`engine.replication.coalesce`, :mod:`engine.replication.batch_writer`), behind a savepoint.
That may break a rule which stream order would not: a unique value that two rows swap, an exclusion
constraint, a row that refers to itself. On any such error the batch is rolled back to its savepoint and
replayed change by change in stream order; only what fails there is the table's error. A transaction larger
than a batch is written batch by batch into the open target transaction, so memory does not grow with it.

Positions: everything whose commit record starts before ``position`` has been dealt with, everything from
there on has not. A transaction is named by its ``final_lsn``, the start of its commit record.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import psycopg

from engine.catalog.table import TableName
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import ConnectionFailedError, EngineError, Failure, Retry, Side, TableError
from engine.replication.batch_writer import BatchWriter, RowCountError
from engine.replication.change_statement import ChangeStatements, Statement
from engine.replication.coalesce import NetChanges, NotCoalescableError
from engine.replication.pipeline import Misfit, Note, Pipeline, StatementFailedError
from engine.replication.protocol import (
    Begin,
    Commit,
    Delete,
    Insert,
    Keepalive,
    LogicalMessage,
    Message,
    Relation,
    Truncate,
    Update,
    XLogData,
    decode_message,
)
from engine.replication.target_table import TargetTable, empty_tables, read_target_table

_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes of failures that another try may not meet: lost connection, deadlock, full disk or
memory, lock not available, cancelled or shut down, I/O error."""

_POSITION_ACTION = "recording the position"

BATCH_CHANGES = 10_000
"""Changes gathered before they are written: past that the cost of a statement no longer shows."""

BATCH_BYTES = 16 * 1024 * 1024
"""The same by size; bounds what a batch holds in memory."""

_SINGLE_CHANGES = 30
"""Up to so many changes of a table are sent one by one: staging them costs more round trips."""

_SINGLE_BATCHES = 50
"""For so many batches a table that the fast way did not fit is written change by change."""

_SAVEPOINT = "livesync_batch"

REMOVE_FROM_SHARED = (
    "The rows of one source table cannot be told apart there. Take the table out of the publication and "
    "refresh, delete its rows on the target yourself, then publish it again and refresh"
)
"""What to do about a source table that has to start over in a target table it shares."""


class TableStoppedError(Exception):
    """A change of one table cannot be applied; the table has to be set aside."""

    def __init__(self, source_oid: int, failure: Failure) -> None:
        super().__init__(failure.sentence())
        self.source_oid = source_oid
        self.failure = failure


class PositionLostError(Exception):
    """The statement that records the position found no row of ours: another engine took over."""


@dataclass(frozen=True, slots=True)
class PositionStatement:
    """A statement that records a position or checks ownership."""

    text: str
    values: tuple[bytes, ...]
    is_fence: bool = False
    """It must find exactly one row; none means that another engine took over."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A change of the batch that has not been written."""

    statements: ChangeStatements
    change: Insert | Update | Delete

    @property
    def size_bytes(self) -> int:
        """What its values take."""
        row = self.change.old if isinstance(self.change, Delete) else self.change.new
        return sum(len(value) for value in row if isinstance(value, bytes))


class ApplyTarget(Protocol):
    """What decides which changes are applied, where, and how the position is recorded."""

    @abstractmethod
    def target_of(self, source_oid: int, final_lsn: int) -> TableName | None:
        """Where a change of the transaction ``final_lsn`` goes, or None when it is not ours to apply."""

    @abstractmethod
    def position_statements(self, position: int) -> tuple[PositionStatement, ...]:
        """What ends a target transaction that reaches ``position``."""

    @abstractmethod
    def applied(self, source_oid: int, changes: int) -> None:
        """``changes`` of a table have become durable."""

    @abstractmethod
    def sharers(self, source_oid: int) -> Collection[int]:
        """Other source tables whose rows are in the same target table; asked while the session is idle."""


class Applier:
    """Owns one target session and its transaction; belongs to one thread."""

    def __init__(
        self,
        session: Session,
        target: ApplyTarget,
        position: int,
        *,
        should_stop: Callable[[], bool],
        tolerates_missing_rows: bool,
    ) -> None:
        """Start at ``position``.

        Args:
            session: In replica role, used by nobody else.
            target: Decides and records.
            position: Where the stream was started.
            should_stop: Looked at while waiting for the target.
            tolerates_missing_rows: An update or delete of a row that the target does not have is normal
                (copying was switched off); otherwise it stops the table.
        """
        self._session = session
        self._target = target
        self._pipeline = Pipeline(session, should_stop)
        self._tolerates_missing_rows = tolerates_missing_rows
        self._relations: dict[int, Relation] = {}
        self._statements: dict[int, tuple[TableName, ChangeStatements]] = {}
        self._writer = BatchWriter(session, should_stop)
        self._batch: list[_Pending] = []
        self._batch_bytes = 0
        self._net: dict[ChangeStatements, NetChanges] = {}
        self._single_batches: dict[int, int] = {}
        self._final_lsn: int | None = None
        self._in_target_transaction = False
        self._uncommitted: dict[int, int] = {}
        self.position = position
        self.durable = position
        self.uncommitted_changes = 0
        self.transactions = 0
        self.last_commit_at: datetime | None = None

    @property
    def in_source_transaction(self) -> bool:
        """Whether the stream is between a Begin and its Commit."""
        return self._final_lsn is not None

    def take(self, message: XLogData | Keepalive) -> None:
        """Deal with one message of the stream.

        Raises:
            TableStoppedError: A change cannot be applied.
            EngineError: The target failed.
            ProtocolError: The stream is not what it should be.
        """
        if isinstance(message, Keepalive):
            # Between transactions the server has sent everything that was committed before wal_end.
            if not self.in_source_transaction:
                self.position = max(self.position, message.wal_end)
            return
        decoded = decode_message(message.payload)
        if decoded is not None:
            self._dispatch(decoded)

    def commit(self, *, even_if_still: bool = False) -> None:
        """Make everything up to :attr:`position` durable; only between source transactions.

        Args:
            even_if_still: Run the position statements although neither rows nor position are new.

        Raises:
            TableStoppedError: A change of this transaction cannot be applied.
            PositionLostError: Another engine took over; nothing was committed.
            EngineError: The target failed; whether it committed is known after reconnecting.
        """
        assert not self.in_source_transaction
        is_new = self.position > self.durable or self._in_target_transaction
        if not is_new and not even_if_still:
            return
        position = self.position
        self._begin()
        self._flush()
        try:
            for statement in self._target.position_statements(position):
                note = Note(None, _POSITION_ACTION, expects_one_row=statement.is_fence)
                self._pipeline.run(statement.text, (), statement.values, note)
            # A commit sent together with its statements would turn a statement that touched the wrong
            # number of rows into a fact; so everything is checked first.
            self._pipeline.settle()
            self._pipeline.run("commit", (), (), Note(None, "committing", expects_one_row=False))
            self._pipeline.settle()
        except StatementFailedError as error:
            raise self._translate(error.misfit) from None
        self._in_target_transaction = False
        self.durable = position
        for source_oid, changes in self._uncommitted.items():
            self._target.applied(source_oid, changes)
        self._uncommitted.clear()
        self.uncommitted_changes = 0

    def _begin(self) -> None:
        if not self._in_target_transaction:
            self._run(Statement("begin", ()), [], Note(None, "starting a transaction", expects_one_row=False))
            self._in_target_transaction = True

    def _dispatch(self, message: Message) -> None:
        match message:
            case Insert() | Update() | Delete():
                self._change(message)
            case Begin():
                self._final_lsn = message.final_lsn
            case Commit():
                self._final_lsn = None
                self.position = max(self.position, message.end_lsn)
                self.transactions += 1
                self.last_commit_at = message.committed_at
            case Relation():
                self._flush()
                self._relations[message.oid] = message
                self._statements.pop(message.oid, None)
            case Truncate():
                self._truncate(message)
            case LogicalMessage():
                pass

    def _admitted(self, source_oid: int) -> TableName | None:
        # A transaction that was dealt with before comes again only if the source was told less than was
        # durable; its changes must not be applied twice.
        if self._final_lsn is None or self._final_lsn < self.durable:
            return None
        return self._target.target_of(source_oid, self._final_lsn)

    def _change(self, change: Insert | Update | Delete) -> None:
        """Gather a change; write the batch when it is full or the change does not fold into it."""
        source_oid = change.relation_oid
        target_name = self._admitted(source_oid)
        if target_name is None:
            return
        try:
            statements = self._statements_for(source_oid, target_name)
        except TableError as error:
            raise TableStoppedError(source_oid, error.failure) from None
        self._begin()
        self._count(source_oid, 1)
        pending = _Pending(statements, change)
        try:
            self._net_of(statements).add(change)
        except NotCoalescableError:
            self._flush()
            self._apply_one(pending)
            return
        self._batch.append(pending)
        self._batch_bytes += pending.size_bytes
        if len(self._batch) >= BATCH_CHANGES or self._batch_bytes >= BATCH_BYTES:
            self._flush()

    def _net_of(self, statements: ChangeStatements) -> NetChanges:
        net = self._net.get(statements)
        if net is None:
            net = NetChanges(
                statements.key_positions,
                is_full=statements.is_full,
                allows_updates=statements.allows_bulk_updates,
                fills_rows=not statements.unsent_columns,
            )
            self._net[statements] = net
        return net

    def _flush(self) -> None:
        """Write the batch into the open target transaction, fast when that works.

        Raises:
            TableStoppedError: A change cannot be applied in stream order either.
            EngineError: The target failed.
        """
        if not self._batch:
            return
        batch, net = self._batch, self._net
        self._batch, self._net, self._batch_bytes = [], {}, 0
        counts = Counter(pending.statements for pending in batch)
        fast = [statements for statements, count in counts.items() if self._is_worth_it(statements, count)]
        if not fast:
            self._replay(batch)
            return
        self._send("savepoint " + _SAVEPOINT)
        self._writer.remember_savepoint()
        trying: ChangeStatements | None = None
        try:
            self._replay([pending for pending in batch if pending.statements not in fast])
            self._settle()
            for trying in fast:
                self._writer.write(trying, net[trying])
        except (RowCountError, psycopg.Error, EngineError, TableStoppedError) as error:
            self._raise_if_transient(error)
            if trying is not None:
                self._single_batches[trying.relation.oid] = _SINGLE_BATCHES
            self._roll_back_batch()
            self._replay(batch)
            self._settle()
        self._send("release savepoint " + _SAVEPOINT)

    def _is_worth_it(self, statements: ChangeStatements, count: int) -> bool:
        source_oid = statements.relation.oid
        left = self._single_batches.get(source_oid, 0)
        if left:
            self._single_batches[source_oid] = left - 1
            return False
        return count > _SINGLE_CHANGES

    def _raise_if_transient(self, error: Exception) -> None:
        """Another try of the whole transaction is the answer, not the slow way."""
        if isinstance(error, psycopg.Error):
            stopped = self._stopped(Note(0, "batch", expects_one_row=False), error)
            if isinstance(stopped, ConnectionFailedError):
                raise stopped from None
        elif isinstance(error, EngineError):
            failure = error.failure
            if isinstance(error, ConnectionFailedError) or (failure.sqlstate or "").startswith(
                _TRANSIENT_CLASSES
            ):
                raise ConnectionFailedError(replace(failure, retry=Retry.TIMED)) from None

    def _roll_back_batch(self) -> None:
        # A failure that was seen before the last statement was sent leaves the session in mid-pipeline.
        self._pipeline.abandon()
        try:
            self._session.execute("rollback to savepoint " + _SAVEPOINT)
            # Statements whose preparation came after the failure do not exist.
            self._session.execute("deallocate all")
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "rolling back a batch") from None
        self._pipeline.forget_prepared()
        self._writer.forget_since_savepoint()

    def _send(self, statement: str) -> None:
        self._settle()
        try:
            self._session.execute(statement.encode())
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "applying changes") from None

    def _replay(self, batch: Iterable[_Pending]) -> None:
        for pending in batch:
            self._apply_one(pending)

    def _apply_one(self, pending: _Pending) -> None:
        statements, change = pending.statements, pending.change
        source_oid = change.relation_oid
        try:
            match change:
                case Insert():
                    statement, values = statements.insert(change.new)
                    note = Note(source_oid, "insert", expects_one_row=True)
                case Update():
                    update = statements.update(change.old, change.new)
                    if update is None:
                        return
                    statement, values = update
                    note = Note(source_oid, "update", expects_one_row=not self._tolerates_missing_rows)
                case Delete():
                    statement, values = statements.delete(change.old)
                    note = Note(source_oid, "delete", expects_one_row=not self._tolerates_missing_rows)
        except TableError as error:
            raise TableStoppedError(source_oid, error.failure) from None
        self._run(statement, values, note)

    def _count(self, source_oid: int, changes: int) -> None:
        self._uncommitted[source_oid] = self._uncommitted.get(source_oid, 0) + changes
        self.uncommitted_changes += changes

    def _statements_for(self, source_oid: int, target_name: TableName) -> ChangeStatements:
        known = self._statements.get(source_oid)
        if known is not None and known[0] == target_name:
            return known[1]
        relation = self._relations[source_oid]
        self._settle()
        table = read_target_table(self._session, TableName(relation.schema, relation.table), target_name)
        statements = ChangeStatements(relation, table)
        self._statements[source_oid] = (target_name, statements)
        return statements

    def _truncate(self, message: Truncate) -> None:
        """Empty the tables together, as the source did; CASCADE there has already named every table."""
        tables: dict[int, TargetTable] = {}
        for source_oid in message.relation_oids:
            target_name = self._admitted(source_oid)
            if target_name is None:
                continue
            try:
                tables[source_oid] = self._statements_for(source_oid, target_name).table
            except TableError as error:
                raise TableStoppedError(source_oid, error.failure) from None
        if not tables:
            return
        self._begin()
        self._flush()
        self._settle()
        for source_oid, table in tables.items():
            if set(self._target.sharers(source_oid)) - tables.keys():
                raise TableStoppedError(source_oid, self._shared_truncate(source_oid, table))
        note = Note(next(iter(tables)), "truncate", expects_one_row=False)
        targets = {table.name: table for table in tables.values()}
        try:
            empty_tables(self._session, list(targets.values()), restart_identity=message.restart_identity)
        except psycopg.Error as error:
            raise self._stopped(note, error) from None
        for source_oid in tables:
            self._count(source_oid, 1)

    def _shared_truncate(self, source_oid: int, table: TargetTable) -> Failure:
        relation = self._relations[source_oid]
        return Failure(
            title=f"{TableName(relation.schema, relation.table)} was truncated on the source, but "
            f"{table.name} on the target holds rows of other source tables as well",
            hint=REMOVE_FROM_SHARED,
            side=Side.TARGET,
        )

    def _run(self, statement: Statement, values: list[bytes | None], note: Note) -> None:
        try:
            self._pipeline.run(statement.text, statement.types, values, note)
        except StatementFailedError as error:
            raise self._translate(error.misfit) from None

    def _settle(self) -> None:
        try:
            self._pipeline.settle()
        except StatementFailedError as error:
            raise self._translate(error.misfit) from None

    def _translate(self, misfit: Misfit) -> Exception:
        """What a failed statement means for the table or for the session."""
        note = misfit.note
        if misfit.error is not None:
            return self._stopped(note, misfit.error)
        if note.relation_oid is None:
            return PositionLostError()
        relation = self._relations[note.relation_oid]
        name = TableName(relation.schema, relation.table)
        found = "no row" if misfit.rows == 0 else f"{misfit.rows} rows"
        return TableStoppedError(
            note.relation_oid,
            Failure(
                title=f"An {note.action} of {name} found {found} on the target instead of one"
                if note.action != "delete"
                else f"A delete of {name} found {found} on the target instead of one",
                hint="Somebody or something else changed the target table; stop that, then retry the table "
                "(it is copied again)",
                side=Side.TARGET,
            ),
        )

    def _stopped(self, note: Note, error: psycopg.Error) -> Exception:
        sqlstate = error.sqlstate or ""
        if is_connection_loss(error) or sqlstate.startswith(_TRANSIENT_CLASSES) or note.relation_oid is None:
            known = explain(error, Side.TARGET, "applying changes").failure
            return ConnectionFailedError(
                Failure(known.title, known.detail, known.hint, known.sqlstate, Side.TARGET, Retry.TIMED)
            )
        relation = self._relations.get(note.relation_oid)
        name = "a table" if relation is None else str(TableName(relation.schema, relation.table))
        return TableStoppedError(
            note.relation_oid,
            Failure(
                title=f"The target refused the {note.action} of a row of {name}",
                detail=message_of(error),
                hint="Make the target table accept what the source has, then retry the table "
                "(it is copied again)",
                sqlstate=error.sqlstate,
                side=Side.TARGET,
            ),
        )
