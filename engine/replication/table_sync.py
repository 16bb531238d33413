"""Syncs one table: copy in a slot's snapshot, catch up through that slot, hand over to the apply stream.

PostgreSQL's own order (``src/backend/replication/logical/tablesync.c``), with the states of
``pg_subscription_rel``:

    i  nothing done yet
    d  copying. Of a small table one target transaction holds the rows and ends by recording f with the
       slot's consistent point. A large one is copied in ranges, each a transaction of its own, and f is
       recorded by the last (:mod:`engine.replication.range_copy`). A crash before f leaves d and some of
       the ranges; copy_again tells that, the table is emptied and the copy starts over with a new slot.
    f  copied. Changes are applied from the slot S of this table; each target transaction records the
       position it reached. A crash goes on from there: S is permanent. Without S it is i again.
    s  in step with the apply stream at lsn; S is dropped. The apply stream takes every later change.
    r  the apply stream has passed that lsn.

Two timelines (the hand-over itself is in :mod:`engine.replication.handover`):

    sync behind apply:  d --copy--> f --S up to apply's P--> s at Y >= P          apply passes Y: r
    sync ahead of it:   d --copy--> f --(already past P)---> s at Y, P catches up to Y by itself: r
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.connection.deadline import deadline
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import ConnectionFailedError, EngineError, Failure, Retry, Side, TableError
from engine.lsn import format_lsn
from engine.replication.apply import REMOVE_FROM_SHARED, PositionLostError
from engine.replication.batch import CommitPoint, PositionStatement, TableStoppedError
from engine.replication.change_stream import ChangeStream
from engine.replication.chunk_copy import (
    ChunkVersion,
    delete_rows,
    read_version,
    require_no_rows,
    require_same_version,
)
from engine.replication.copy import Copied, copy_rows, hold_rows
from engine.replication.copy_plan import is_worth_cutting, plan_ranges
from engine.replication.handover import Offer
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.publication import PublishedTable, list_published_tables
from engine.replication.range_copy import CopiesAtWork, CopyTask, RangeCopy, enter_snapshot
from engine.replication.slots import drop_slot, list_slots, oldest_writer, release_slot, sync_slot_name
from engine.replication.state import EpochLostError, StateStore, TableRow
from engine.replication.stream import CreatedSlot, ReplicationConnection
from engine.replication.subscription import REPLICA_ROLE, Running
from engine.replication.sync_sessions import SyncSessions
from engine.replication.target_table import TargetTable, empty_tables, read_target_table
from engine.replication.write_thread import Written
from engine.snapshot import Severity, TableState

_PUMP_SECONDS = 0.1

_STUCK_SECONDS = 1.0
"""A target that works on one statement for longer, or a source that says nothing for longer although it is
asked, counts as standing still."""

_ASK_AGAIN_SECONDS = 0.5

_START_SECONDS = 60.0
"""How long the source may take to begin a stream."""

_NEAR_TAIL_BYTES = 4 * 1024 * 1024
"""Distance to the apply stream at which a table offers itself; the apply stream stands still meanwhile."""

_RECORD_POSITION = """
update _ts_live_sync.subscription_rel
   set lsn = $1::pg_lsn, updated_at = pg_catalog.now()
 where subname = $2::text and rrelid = $3::oid and state = 'f'
"""

_CHECK_EPOCH = """
select 1 from _ts_live_sync.subscription where subname = $1::text and epoch = $2::bigint for share
"""


def _shared_target(table: TableRow) -> TableError:
    return TableError(
        Failure(
            title=f"Target table {table.target} holds rows of several source tables",
            hint=REMOVE_FROM_SHARED,
            side=Side.TARGET,
        )
    )


class TableSync:
    """The sync of one table, run by one worker thread."""

    def __init__(
        self,
        running: Running,
        table: TableRow,
        published: PublishedTable,
        sessions: SyncSessions,
        copies: CopiesAtWork,
    ) -> None:
        """Prepare.

        Args:
            running: The engine.
            table: The table as recorded, in i, d or f.
            published: What the publications give out of it.
            sessions: Of this table; knows what earlier attempts left.
            copies: Where workers without a table find one to help with.
        """
        self._running = running
        self._table = table
        self._published = published
        self._sessions = sessions
        self._copies = copies
        self._slot = sync_slot_name(running.subscription, table.oid)
        self._said_who_blocks = False

    def run(self) -> None:
        """Bring the table to s.

        Raises:
            TableError: The table cannot go on; its slot is already dropped.
            EngineError: A server failed; the table goes on from its recorded state.
            StoppedWaitingError: Asked to stop; likewise.
        """
        running = self._running
        try:
            with ExitStack() as stack:
                walsender = None
                if self._table.state is TableState.FINISHEDCOPY and self._table.lsn is not None:
                    position = self._table.lsn
                else:
                    walsender = self._connect_walsender(stack, f"slot {self._table.oid}")
                    position = self._copy(walsender)
                # Of a chunk's rows, the keys are its hypertable's.
                keyed = self._table.hypertable_oid or self._table.oid
                self._running.deferred.build_keys(keyed, self._sessions)
                self._require_slot(position)
                if walsender is None:
                    walsender = self._connect_walsender(stack, f"sync {self._table.oid}")
                self._catch_up(position, walsender)
            self._drop_slot()
        except TableStoppedError as error:
            self._drop_slot()
            raise TableError(error.failure) from None
        except PositionLostError:
            raise EpochLostError(running.subscription) from None
        except EpochLostError:
            raise
        except TableError:
            self._drop_slot()
            raise
        except EngineError as error:
            if error.failure.retry is Retry.TIMED:
                raise
            # Nobody goes on from this slot, and it would keep WAL until the source's disk is full.
            self._drop_slot()
            hint = f"{error.failure.hint or 'Mend that'}, then retry the table (it is copied again)"
            raise TableError(replace(error.failure, hint=hint)) from None

    def _connect_walsender(self, stack: ExitStack, purpose: str) -> ReplicationConnection:
        walsender = stack.enter_context(ReplicationConnection(self._running.config.source, purpose))
        stack.enter_context(self._sessions.watched(walsender.session, Side.SOURCE))
        return walsender

    def _drop_slot(self) -> None:
        with self._sessions.open(self._running.config.source, f"sync {self._table.oid}") as source:
            drop_slot(source, self._slot)

    def _require_slot(self, position: int) -> None:
        """Look whether the slot still has every change since ``position``; without it the table starts over.

        Raises:
            ConnectionFailedError: It is gone; the table is in i again.
            TableError: The source removed WAL that it needed, and would do so again.
        """
        running, table = self._running, self._table
        with self._sessions.open(running.config.source, f"sync {table.oid}") as source:
            release_slot(source, self._slot)
            slot = list_slots(source, running.subscription).get(self._slot)
        if slot is not None and slot.wal_status == "lost":
            raise TableError(
                Failure(
                    title=f"The source removed WAL that the replication slot {self._slot} of {table.source} "
                    "still needed (max_slot_wal_keep_size)",
                    hint="Raise max_slot_wal_keep_size on the source, then retry the table "
                    "(it is copied again)",
                    side=Side.SOURCE,
                )
            )
        if slot is not None and (slot.confirmed_flush_lsn or 0) <= position:
            return
        with self._sessions.open(running.config.target, f"sync {table.oid}") as target:
            StateStore(target, running.subscription).start_over(table.oid, running.epoch)
        running.monitor.state(table.oid, TableState.INIT)
        raise ConnectionFailedError(
            Failure(
                title=f"Somebody dropped the replication slot {self._slot} of {table.source}, so its changes "
                f"since {format_lsn(position)} cannot be had",
                hint="Nothing to do; the table is copied again",
                side=Side.SOURCE,
                retry=Retry.TIMED,
            )
        )

    # --- d: the copy

    def _copy(self, walsender: ReplicationConnection) -> int:
        """Copy the table; return the position its rows stand for.

        Args:
            walsender: Makes the slot, and holds its snapshot until the rows are there.
        """
        running, table = self._running, self._table
        with ExitStack() as stack:
            target = stack.enter_context(
                self._sessions.open(running.config.target, f"copy {table.oid}", extra=REPLICA_ROLE)
            )
            state = StateStore(target, running.subscription)
            state.begin_copy(table.oid)
            running.monitor.state(table.oid, TableState.DATASYNC)
            target_table = read_target_table(target, table.source, table.target)
            if not self._published.is_chunk:
                self._require_empty(target, target_table, shares_target=bool(state.sharers(table.oid)))
            source = stack.enter_context(self._sessions.open(running.config.source, f"copy {table.oid}"))
            drop_slot(source, self._slot)
            before = read_version(source, table.oid) if self._published.is_chunk else None
            slot = walsender.create_slot(
                self._slot,
                on_blocked=lambda: self._say_who_blocks(source),
                should_stop=running.stopping,
            )
            if slot is None:
                raise StoppedWaitingError
            running.monitor.activity(table.oid, "copying")
            self._copy_in_snapshot(source, target, slot, state=state, before=before)
            self._leave_snapshot(source)
            walsender.release_snapshot(f"sync {table.oid}")
        running.monitor.state(table.oid, TableState.FINISHEDCOPY)
        return slot.consistent_lsn

    def _leave_snapshot(self, source: Session) -> None:
        try:
            source.execute("commit")
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, f"ending the copy of {self._table.source}") from None

    def _require_empty(self, target: Session, target_table: TargetTable, *, shares_target: bool) -> None:
        """Refuse to copy into rows that are not ours: they would be doubled or collide.

        Raises:
            TableError: There are rows, and no earlier copy of ours put them there.
        """
        if self._table.copy_again and shares_target:
            raise _shared_target(self._table)
        if self._table.copy_again or shares_target:
            return
        # Rows of tables that inherit from it arrive under their own names.
        look = sql.SQL("select 1 from {} limit 1").format(target_table.rows_of)
        try:
            occupied = target.execute(look).fetchone()
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, f"looking into {self._table.target}") from None
        if occupied is not None:
            raise TableError(
                Failure(
                    title=f"Target table {self._table.target} already holds rows",
                    hint="Copying into it would double them: empty it (or map the source table to another "
                    "one with --table-map), then retry the table",
                    side=Side.TARGET,
                )
            )

    def _say_who_blocks(self, source: Session) -> None:
        self._sessions.moved()
        writer = oldest_writer(source)
        if writer is not None:
            self._running.monitor.activity(
                self._table.oid, f"waiting for a transaction on the source to end: {writer}"
            )
            if not self._said_who_blocks:
                self._said_who_blocks = True
                self._running.feed.emit(
                    Severity.WARNING,
                    f"Copying {self._table.source} waits for a transaction on the source to end: {writer}",
                )

    def _copy_in_snapshot(
        self,
        source: Session,
        target: Session,
        slot: CreatedSlot,
        *,
        state: StateStore,
        before: ChunkVersion | None,
    ) -> None:
        running, table = self._running, self._table
        enter_snapshot(source, slot.snapshot)
        # The table may have waited for its slot: its name and columns of this moment are the stream's.
        now = list_published_tables(source, running.config.publications, only_oid=table.oid)
        published = now[0] if now else self._published
        target_table = read_target_table(target, published.name, table.target)
        running.monitor.copied(table.oid, 0, 0)
        task = self._task_of_ranges(source, published, target_table, slot, state)
        if task is not None:
            copied = self._copy_ranges(source, target, task, state)
        try:
            target.execute("begin")
            if task is None:
                if before is None:
                    copied = self._copy_whole(source, target, published, target_table)
                else:
                    copied = self._copy_chunk(
                        source, target, published, target_table, state=state, before=before
                    )
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, f"emptying {table.target}") from None
        state.write_copied(table.oid, slot.consistent_lsn, copied.rows, copied.size_bytes)
        state.commit_owned(running.epoch, f"committing the copy of {table.source}")
        self._copied(copied.rows, copied.size_bytes)
        running.feed.emit(Severity.INFO, f"Copied {table.source}: {copied.rows:,} rows")

    def _copy_whole(
        self, source: Session, target: Session, published: PublishedTable, target_table: TargetTable
    ) -> Copied:
        """Copy all rows in the open transaction."""
        if self._table.copy_again:
            empty_tables(target, [target_table], restart_identity=False)
        return self._copy_rows(source, target, published, target_table)

    def _copy_chunk(
        self,
        source: Session,
        target: Session,
        published: PublishedTable,
        target_table: TargetTable,
        *,
        state: StateStore,
        before: ChunkVersion,
    ) -> Copied:
        """Copy all rows of a chunk in the open transaction."""
        table = self._table
        has_strangers = state.others_than_parts(table.oid)
        if table.copy_again and has_strangers:
            raise _shared_target(table)
        if table.copy_again:
            delete_rows(target, published, target_table)
        elif not has_strangers:
            require_no_rows(target, published, target_table)
        copied = self._copy_rows(source, target, published, target_table)
        with self._sessions.open(self._running.config.source, f"look {table.oid}") as now:
            require_same_version(published, before, read_version(now, table.oid))
        state.write_rows_condition(
            table.oid, None if published.part is None else published.part.rows_condition
        )
        return copied

    def _copy_rows(
        self, source: Session, target: Session, published: PublishedTable, target_table: TargetTable
    ) -> Copied:
        return copy_rows(
            source,
            target,
            published,
            target_table,
            on_progress=self._copied,
            should_stop=self._running.stopping,
        )

    def _task_of_ranges(
        self,
        source: Session,
        published: PublishedTable,
        target_table: TargetTable,
        slot: CreatedSlot,
        state: StateStore,
    ) -> CopyTask | None:
        """The table in ranges; None when one transaction is to copy it."""
        running = self._running
        # What is committed in parts must be emptied after a failure; rows of other tables must not.
        if running.config.sync_workers == 1 or not is_worth_cutting(published):
            return None
        if state.sharers(self._table.oid):
            return None
        hold_rows(source, published, running.stopping)
        ranges = plan_ranges(source, published, server_version=source.info.server_version)
        return CopyTask(published, target_table, slot.snapshot, ranges) if len(ranges) > 1 else None

    def _copy_ranges(self, source: Session, target: Session, task: CopyTask, state: StateStore) -> Copied:
        """Copy the table in ranges, each committed by itself, with workers that have nothing else to do."""
        table = self._table
        try:
            with target.transaction():
                if table.copy_again:
                    empty_tables(target, [task.target_table], restart_identity=False)
                # Once more: it may have taken hours until the slot was there.
                self._require_empty(target, task.target_table, shares_target=bool(state.sharers(table.oid)))
                state.replace_by_next_copy(table.oid)
                state.require_epoch(self._running.epoch)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, f"emptying {table.target}") from None
        return self._copies.run(RangeCopy(self._running, task, self._sessions), source, target)

    def _copied(self, rows: int, size_bytes: int) -> None:
        self._sessions.moved()
        self._running.monitor.copied(self._table.oid, rows, size_bytes)

    # --- f: catching up

    def _catch_up(self, position: int, walsender: ReplicationConnection) -> None:
        running, table = self._running, self._table
        running.monitor.state(table.oid, TableState.FINISHEDCOPY)
        with ExitStack() as stack:
            target = stack.enter_context(
                self._sessions.open(running.config.target, f"sync {table.oid}", extra=REPLICA_ROLE)
            )
            state = StateStore(target, running.subscription)
            with deadline(_START_SECONDS, walsender.session):
                walsender.start(self._slot, running.config.publications, position)
            stream = ChangeStream(
                walsender,
                target,
                position,
                target_of=self._target_of,
                commit_at=self._commit_at,
                sharers=state.sharers,
                should_stop=running.stopping,
                tolerates_missing_rows=False,
            )
            stack.callback(stream.close)
            self._chase(stream)
            self._hand_over(stream, state)

    def _target_of(self, source_oid: int, final_lsn: int) -> TableName | None:
        """Only this table's changes; the stream itself starts at the table's position."""
        return self._table.target if source_oid == self._table.oid else None

    def _commit_at(self, position: int) -> CommitPoint:
        """Record the table's position; check that no other engine took over."""
        subscription = self._running.subscription.encode()
        oid = str(self._table.oid).encode()
        return CommitPoint(
            position,
            (
                PositionStatement(
                    _RECORD_POSITION, (format_lsn(position).encode(), subscription, oid), is_fence=True
                ),
                PositionStatement(
                    _CHECK_EPOCH, (subscription, str(self._running.epoch).encode()), is_fence=True
                ),
            ),
        )

    def _chase(self, stream: ChangeStream) -> None:
        """Apply until the tail is near, without anybody waiting for us."""
        handover = self._running.handover

        def is_near() -> bool:
            return stream.position + _NEAR_TAIL_BYTES >= handover.apply_position

        stream.ask_position()
        self._stream_until(stream, is_near)

    def _hand_over(self, stream: ChangeStream, state: StateStore) -> None:
        running = self._running
        offer = running.handover.offer(self._table)
        offer.catch_up_to.add_done_callback(lambda _: stream.wake())
        try:
            running.monitor.activity(self._table.oid, "waiting for the apply stream to take over")
            self._stream_until(stream, offer.catch_up_to.done)
            catch_up_to = offer.catch_up_to.result()
            stream.ask_position()
            self._stream_until(stream, lambda: stream.position >= catch_up_to)
            self._finish(stream, offer, state)
        except BaseException as error:
            if not offer.finished.done():
                offer.finished.set_exception(error)
            raise

    def _finish(self, stream: ChangeStream, offer: Offer, state: StateStore) -> None:
        """Commit state s after the last changes; only then may the apply stream go on."""
        oid = self._table.oid
        lsn = stream.durable
        stream.stop_writing()
        try:
            state.write_state_owned(oid, TableState.SYNCDONE, lsn, self._running.epoch)
        except EngineError:
            # The commit may have got through. The apply stream stands still until that is known: were it
            # to go on, it would pass changes that nobody applies any more.
            self._sessions.close(Side.TARGET)
            if not self._is_recorded_as_done(lsn):
                raise
        self._running.monitor.state(oid, TableState.SYNCDONE)
        offer.finished.set_result(lsn)

    def _is_recorded_as_done(self, lsn: int) -> bool:
        """Whether state s was committed after all; asks until the target answers.

        Raises:
            StoppedWaitingError: Asked to stop; the next start reads it.
        """
        running = self._running
        while not running.stop.wait(_ASK_AGAIN_SECONDS):
            try:
                with self._sessions.open(running.config.target, f"sync {self._table.oid}") as session:
                    row = StateStore(session, running.subscription).settled_table(self._table.oid)
            except EngineError as error:
                running.monitor.activity(self._table.oid, f"asking the target again: {error.failure.title}")
                continue
            return row is not None and row.state is TableState.SYNCDONE and row.lsn == lsn
        raise StoppedWaitingError

    def _stream_until(self, stream: ChangeStream, reached: Callable[[], bool]) -> None:
        """Apply what comes until ``reached`` between source transactions; leave nothing uncommitted."""
        running = self._running
        while True:
            is_leaving = running.stop.is_set()
            self._note_written(stream.pump(_PUMP_SECONDS, wants_boundary=is_leaving or reached()))
            if stream.writing_seconds < _STUCK_SECONDS and stream.silent_seconds < _STUCK_SECONDS:
                self._sessions.moved()
            if stream.in_source_transaction:
                if is_leaving:
                    raise StoppedWaitingError
                continue
            if is_leaving or reached():
                self._note_written(stream.drain())
                if is_leaving:
                    raise StoppedWaitingError
                return
            if stream.is_due:
                stream.submit()

    def _note_written(self, written: list[Written]) -> None:
        for one in written:
            for source_oid, changes in one.changes.items():
                self._running.monitor.applied(source_oid, changes)
