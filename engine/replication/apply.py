"""Writes batches into the target, whole source transactions, in commit order.

The exactly-once rule lives here: the position is written by the same target transaction as the rows.
Several source transactions may share one target transaction; a source transaction is never split over
two. What has been committed on the target with ``synchronous_commit`` on is durable, and only that is
confirmed to the source.

A table with more than a few changes in a batch is written fast: the net effect of each row by COPY and one
statement for many rows (:mod:`engine.replication.bulk`), behind a savepoint. That may break a rule which
stream order would not: a unique value that two rows swap, an exclusion constraint, a row that refers to
itself. On any such error the table is rolled back to its savepoint and its changes are replayed one by one in
stream order; only what fails there is the table's error. Tables do not depend on each other here (no foreign
key and no ordinary trigger acts in replica role), so each is written by itself; source tables that share a
target table are replayed together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import psycopg

from engine.catalog.table import TableName
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import ConnectionFailedError, EngineError, Failure, Retry, Side, TableError
from engine.replication.batch import (
    Batch,
    CommitPoint,
    EmptyTables,
    TableStoppedError,
    TargetChanges,
    WriteChanges,
    source_oid_of,
)
from engine.replication.bulk import BulkWriter, RowCountError
from engine.replication.change_statement import ChangeStatements, Statement
from engine.replication.coalesce import NetChanges
from engine.replication.pipeline import Misfit, Note, Pipeline, StatementFailedError
from engine.replication.protocol import Delete, Insert, Relation, Update, decode_change
from engine.replication.target_table import empty_tables, read_target_table

_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes of failures that another try may not meet: lost connection, deadlock, full disk or
memory, lock not available, cancelled or shut down, I/O error."""

_POSITION_ACTION = "recording the position"

_SINGLE_CHANGES = 30
"""Up to so many changes of a table are sent one by one: staging them costs more round trips."""

_SINGLE_BATCHES = 50
"""For so many batches a table that the fast way did not fit is written change by change."""

REMOVE_FROM_SHARED = (
    "The rows of one source table cannot be told apart there. Take the table out of the publication and "
    "refresh, delete its rows on the target yourself, then publish it again and refresh"
)
"""What to do about a source table that has to start over in a target table it shares."""


class PositionLostError(Exception):
    """The statement that records the position found no row of ours: another engine took over."""


class Applier:
    """Owns one target session and its transaction; belongs to one thread."""

    def __init__(
        self,
        session: Session,
        *,
        sharers: Callable[[int], Collection[int]],
        should_stop: Callable[[], bool],
        tolerates_missing_rows: bool,
    ) -> None:
        """Prepare.

        Args:
            session: In replica role, used by nobody else.
            sharers: Other source tables whose rows are in the same target table as those of one; asked
                while the session is idle.
            should_stop: Looked at while waiting for the target.
            tolerates_missing_rows: An update or delete of a row that the target does not have is normal
                (copying was switched off); otherwise it stops the table.
        """
        self._session = session
        self._sharers = sharers
        self._pipeline = Pipeline(session, should_stop)
        self._tolerates_missing_rows = tolerates_missing_rows
        self._bulk = BulkWriter(session, on_progress=self._moved, should_stop=should_stop)
        self._names: dict[int, TableName] = {}
        self._single_batches: dict[TableName, int] = {}
        self._in_transaction = False
        self._on_progress: Callable[[], None] = lambda: None

    def _moved(self) -> None:
        self._on_progress()

    def describe(self, relation: Relation, target: TableName) -> ChangeStatements:
        """How changes of ``relation`` are written into ``target``, as the target's catalogs say now.

        Raises:
            TableError: The table or a column does not exist there.
            EngineError: The target could not be read.
        """
        self._settle()
        source = TableName(relation.schema, relation.table)
        self._names[relation.oid] = source
        return ChangeStatements(relation, read_target_table(self._session, source, target))

    def write(self, batch: Batch, on_progress: Callable[[], None]) -> Counter[int]:
        """Write ``batch``; when it has a commit, everything written since the last one is durable then.

        Args:
            batch: What to write.
            on_progress: Called again and again as long as the target goes on.

        Returns:
            How many changes of each source table were written.

        Raises:
            TableStoppedError: A change cannot be applied.
            PositionLostError: Another engine took over; nothing was committed.
            EngineError: The target failed; whether it committed is known after reconnecting.
        """
        self._on_progress = on_progress
        self._begin()
        counts: Counter[int] = Counter()
        for step in batch.steps:
            match step:
                case WriteChanges(tables):
                    for table in tables:
                        on_progress()
                        self._write_table(table)
                        counts.update(table.counts())
                case EmptyTables():
                    self._empty_tables(step)
                    counts.update(step.statements.keys())
        if batch.commit is not None:
            self._commit(batch.commit)
        return counts

    def _begin(self) -> None:
        if not self._in_transaction:
            self._run(Statement("begin", ()), [], Note(None, "starting a transaction", expects_one_row=False))
            self._in_transaction = True

    def _commit(self, commit: CommitPoint) -> None:
        try:
            for statement in commit.statements:
                note = Note(None, _POSITION_ACTION, expects_one_row=statement.is_fence)
                self._pipeline.run(statement.text, (), statement.values, note)
            # A commit sent together with its statements would turn a statement that touched the wrong
            # number of rows into a fact; so everything is checked first.
            self._pipeline.settle()
            self._pipeline.run("commit", (), (), Note(None, "committing", expects_one_row=False))
            self._pipeline.settle()
        except StatementFailedError as error:
            raise self._translate(error.misfit) from None
        self._in_transaction = False
        self._bulk.forget_savepoint()

    def _write_table(self, table: TargetChanges) -> None:
        if not self._is_worth_it(table):
            self._replay(table, table.messages)
            return
        self._settle()
        try:
            self._write_fast(table)
        except (RowCountError, psycopg.Error, EngineError, TableStoppedError) as error:
            self._raise_if_transient(error)
            self._single_batches[table.target] = _SINGLE_BATCHES
            # A failure that was seen before the last statement was sent leaves the session in mid-pipeline.
            self._pipeline.abandon()
            self._bulk.roll_back()
            self._pipeline.forget_prepared()
            self._replay(table, table.messages)
            self._settle()

    def _write_fast(self, table: TargetChanges) -> None:
        self._bulk.set_savepoint()
        for relation in table.relations:
            for part in relation.parts:
                if isinstance(part, NetChanges):
                    self._bulk.write(relation.statements, part)
                else:
                    self._bulk.send_savepoint()
                    self._replay(table, part)
                    self._settle()

    def _is_worth_it(self, table: TargetChanges) -> bool:
        left = self._single_batches.get(table.target, 0)
        if left:
            self._single_batches[table.target] = left - 1
            return False
        return len(table.messages) > _SINGLE_CHANGES and any(
            isinstance(part, NetChanges) for relation in table.relations for part in relation.parts
        )

    def _replay(self, table: TargetChanges, messages: Sequence[bytes]) -> None:
        """Write changes one by one in stream order."""
        statements_of = table.statements_of()
        for message in messages:
            self._on_progress()
            self._apply_one(statements_of[source_oid_of(message)], decode_change(message))

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

    def _apply_one(self, statements: ChangeStatements, change: Insert | Update | Delete) -> None:
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

    def _empty_tables(self, step: EmptyTables) -> None:
        """Empty the tables together, as the source did."""
        self._settle()
        for source_oid, statements in step.statements.items():
            if set(self._sharers(source_oid)) - step.statements.keys():
                raise TableStoppedError(source_oid, _shared_truncate(statements))
        note = Note(next(iter(step.statements)), "truncate", expects_one_row=False)
        targets = {statements.table.name: statements.table for statements in step.statements.values()}
        try:
            empty_tables(self._session, list(targets.values()), restart_identity=step.restart_identity)
        except psycopg.Error as error:
            raise self._stopped(note, error) from None

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
        name = self._names[note.relation_oid]
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
        name = str(self._names.get(note.relation_oid, "a table"))
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


def _shared_truncate(statements: ChangeStatements) -> Failure:
    return Failure(
        title=f"{statements.source_name} was truncated on the source, but "
        f"{statements.table.name} on the target holds rows of other source tables as well",
        hint=REMOVE_FROM_SHARED,
        side=Side.TARGET,
    )
