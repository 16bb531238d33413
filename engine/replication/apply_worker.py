"""The apply worker: streams the subscription's slot and applies what belongs to tables in s and r.

One run of :meth:`ApplyWorker.run` lasts from connecting to a failure or a stop. What it knows of the tables
it reads from the target at its start and learns afterwards from handovers and from its inbox, so no other
thread changes it. After any failure the owner simply runs it again: position and states are in the target.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from engine.catalog.table import TableName
from engine.connection.deadline import deadline, shut_down
from engine.connection.session import Session, open_session
from engine.errors import Failure
from engine.lsn import format_lsn
from engine.replication.apply import PositionLostError
from engine.replication.batch import CommitPoint, PositionStatement, TableStoppedError
from engine.replication.bootstrap import require_usable
from engine.replication.change_stream import ChangeStream
from engine.replication.drift import with_fitting_hint
from engine.replication.pipeline import StoppedWaitingError
from engine.replication.slots import apply_slot_name, list_slots, release_slot
from engine.replication.standstill import Standstill
from engine.replication.state import EpochLostError, StateStore, TableRow
from engine.replication.stream import ReplicationConnection
from engine.replication.subscription import REPLICA_ROLE, Running
from engine.replication.waits import end_remainder
from engine.replication.write_thread import Written
from engine.snapshot import FenceSeen, Severity, TableState

_IDLE_POSITION_SECONDS = 0.5
"""How often a position that moved without any change of ours is recorded."""

_PUMP_SECONDS = 0.1

_STOP_GRACE_SECONDS = 10.0
"""How long a stop waits for the end of the source transaction that is being applied."""

_CONNECT_SECONDS = 60.0
"""How long each server may take to tell us where we are."""

_STANDSTILL_SECONDS = 30.0
"""How long the stream stands still for a verifier unless that is asked for again."""

_UPDATE_PROGRESS = """
update _ts_live_sync.progress set lsn = $1::pg_lsn where subname = $2::text and epoch = $3::bigint
"""

_PROMOTE_TABLE = """
update _ts_live_sync.subscription_rel
   set state = 'r', updated_at = pg_catalog.now()
 where subname = $1::text and rrelid = $2::oid and state in ('s', 'r')
"""


@dataclass(frozen=True, slots=True)
class Exclude:
    """Take no more changes of a table: it left the publication or starts over."""

    source_oid: int


class ApplyWorker:
    """Applies the stream; every method but :meth:`exclude` belongs to the worker's thread."""

    def __init__(self, running: Running, on_streaming: Callable[[], None]) -> None:
        self._running = running
        self._on_streaming = on_streaming
        self._leave = threading.Event()
        self._inbox: queue.SimpleQueue[Exclude] = queue.SimpleQueue()
        self._tables: dict[int, TableRow] = {}
        self._synchronized: dict[int, TableRow] = {}
        """Those of them in s; looking through thousands in r at each commit would add up."""

        self._state: StateStore | None = None
        self._session_lock = threading.Lock()
        self._session: Session | None = None
        self._earlier_pid: int | None = None
        self._stream: ChangeStream | None = None
        self._connection: ReplicationConnection | None = None
        self._source_pid: int | None = None
        self._promoting: set[int] = set()
        self._standstill: tuple[Standstill, float] | None = None
        """With the end of the order's time."""

        self._standing: Standstill | None = None
        self.durable_lsn: int | None = None
        self.last_commit_at: datetime | None = None
        self.transactions = 0

    def exclude(self, source_oid: int) -> None:
        """Have the worker take no more changes of a table; safe from any thread."""
        self._inbox.put(Exclude(source_oid))

    def stand_still(self, order: Standstill | None) -> None:
        """Stand still as ordered until another order comes or none came for half a minute; safe from any
        thread."""
        self._standstill = None if order is None else (order, time.monotonic() + _STANDSTILL_SECONDS)
        with self._session_lock:
            if self._stream is not None:
                self._stream.wake()

    @property
    def standing(self) -> Standstill | None:
        """The order that is carried out: everything gathered is durable, nothing more is written; safe from
        any thread."""
        return self._standing

    @property
    def standstill(self) -> Standstill | None:
        """The order in force; safe from any thread."""
        order = self._standstill
        return None if order is None or time.monotonic() > order[1] else order[0]

    def leave(self) -> None:
        """Have :meth:`run` return at the next boundary; safe from any thread."""
        self._leave.set()

    @property
    def target_pid(self) -> int | None:
        """Backend of the session that applies; safe from any thread."""
        with self._session_lock:
            return None if self._session is None else self._session.info.backend_pid

    @property
    def step_seconds(self) -> float:
        """How long the batch at hand has been written; it takes long only where the target waits."""
        stream = self._stream
        return 0.0 if stream is None else stream.writing_seconds

    @property
    def source_pid(self) -> int | None:
        """Backend of the walsender; safe from any thread."""
        with self._session_lock:
            return self._source_pid

    @property
    def silent_seconds(self) -> float:
        """For how long the source has said nothing, although it was asked; safe from any thread."""
        stream = self._stream
        return 0.0 if stream is None else stream.silent_seconds

    def cut_off_source(self) -> None:
        """End the connection to a source that does not know of it any more; safe from any thread."""
        with self._session_lock:
            if self._connection is not None:
                shut_down(self._connection.session.pgconn)

    def cut_off(self) -> None:
        """End the connection to a target that does not know of it any more; safe from any thread."""
        with self._session_lock:
            if self._session is not None:
                shut_down(self._session.pgconn)

    @property
    def _is_leaving(self) -> bool:
        return self._leave.is_set() or self._running.stop.is_set()

    def run(self) -> None:
        """Connect and apply until asked to leave or to stop.

        Raises:
            EngineError: A server failed or refused; ``failure.retry`` says whether to run again.
            StreamEndedError: The source ended the stream; run again.
        """
        running = self._running
        self._leave.clear()
        # A handover that was accepted before the last failure still ends by itself; the states read below
        # must not be older than its end.
        running.handover.wait_for_accepted(running.stopping)
        # Closed as it is: in the middle of a pipeline it takes no rollback; the server rolls back by itself.
        with closing(open_session(running.config.target, "apply", extra=REPLICA_ROLE)) as session:
            position, connection = self._connect(session)
            stream = ChangeStream(
                connection,
                session,
                position,
                target_of=self._target_of,
                commit_at=self._commit_at,
                sharers=self._sharers,
                should_stop=running.stopping,
                tolerates_missing_rows=not running.config.copy_data,
            )
            running.handover.on_offer = stream.wake
            self._on_streaming()
            with self._session_lock:
                self._session, self._stream, self._connection = session, stream, connection
                self._source_pid = connection.session.info.backend_pid
            try:
                self._apply(stream)
            except PositionLostError:
                raise EpochLostError(running.subscription) from None
            except StoppedWaitingError:
                return
            except TableStoppedError as error:
                stopped = error
            else:
                return
            finally:
                with self._session_lock:
                    self._connection = self._source_pid = None
                stream.close()
                with self._session_lock:
                    self._session = self._stream = None
        self._set_aside(stopped.source_oid, stopped.failure)

    def _connect(self, session: Session) -> tuple[int, ReplicationConnection]:
        """Read where we are over the new target session; stream the slot from there."""
        running = self._running
        slot_name = apply_slot_name(running.subscription)
        with deadline(_CONNECT_SECONDS, session):
            end_remainder(session, self._earlier_pid)
            self._earlier_pid = session.info.backend_pid
            self._state = state = StateStore(session, running.subscription)
            position = state.settled_position(running.epoch)
            self._tables = {table.oid: table for table in state.tables() if table.last_error is None}
            self._synchronized = {
                table.oid: table for table in self._tables.values() if table.state is TableState.SYNCDONE
            }
            self._promoting = set()
        self._learn_ready()
        self.durable_lsn = position
        with open_session(running.config.source, f"apply {running.subscription}") as source:
            with deadline(_CONNECT_SECONDS, source):
                release_slot(source, slot_name)
                slot = list_slots(source, running.subscription).get(slot_name)
            require_usable(running.subscription, slot, position)
        connection = ReplicationConnection(running.config.source, f"apply {running.subscription}")
        try:
            with deadline(_CONNECT_SECONDS, connection.session):
                connection.start(slot_name, running.config.publications, position)
        except BaseException:
            connection.close()
            raise
        return position, connection

    def _learn_ready(self) -> None:
        """Tell of tables that became ready by a commit whose answer was lost."""
        monitor = self._running.monitor
        for table in self._tables.values():
            shown = monitor.table(table.oid)
            if table.state is TableState.READY and shown is not None and shown.state is not table.state:
                monitor.state(table.oid, TableState.READY)

    def _target_of(self, source_oid: int, final_lsn: int) -> TableName | None:
        """Where a change goes, or None when the table's own sync has it or it is not ours."""
        table = self._tables.get(source_oid)
        if table is None:
            return None
        if table.state is TableState.READY or (
            table.state is TableState.SYNCDONE and table.lsn is not None and final_lsn >= table.lsn
        ):
            return table.target
        return None

    def _commit_at(self, position: int) -> CommitPoint:
        """Record the position; move tables that it has reached from s to r."""
        subscription = self._running.subscription.encode()
        statements = [
            PositionStatement(
                _UPDATE_PROGRESS,
                (format_lsn(position).encode(), subscription, str(self._running.epoch).encode()),
                is_fence=True,
            )
        ]
        reached = self._reached(position)
        statements += [
            PositionStatement(_PROMOTE_TABLE, (subscription, str(oid).encode())) for oid in reached
        ]
        self._promoting.update(reached)
        return CommitPoint(position, tuple(statements), tuple(reached))

    def _sharers(self, source_oid: int) -> Collection[int]:
        """Other source tables whose rows are in the same target table."""
        assert self._state is not None
        others = self._state.sharers(source_oid)
        this = self._tables.get(source_oid)
        if this is None or this.hypertable_oid is None:
            return others
        return [oid for oid in others if not self._shares_fate(this.hypertable_oid, oid)]

    def _shares_fate(self, hypertable_oid: int, source_oid: int) -> bool:
        """Whether truncating the hypertable means this chunk too: one that it does not name is gone."""
        table = self._tables.get(source_oid)
        return (
            table is not None
            and table.is_chunk
            and table.hypertable_oid == hypertable_oid
            and table.state is TableState.READY
        )

    def _reached(self, position: int) -> list[int]:
        """Tables in s whose lsn ``position`` has reached, and whose r is not under way."""
        return [
            table.oid
            for table in self._synchronized.values()
            if table.lsn is not None and table.lsn <= position and table.oid not in self._promoting
        ]

    def _apply(self, stream: ChangeStream) -> None:
        running = self._running
        recorded_at = 0.0
        stop_deadline: float | None = None
        while True:
            order = self.standstill
            stream.stop_before(None if order is None else order.stop_lsn)
            wants_boundary = (
                self._is_leaving
                or running.handover.waiting
                or not self._inbox.empty()
                or (order is not None and order.stop_lsn is None)
            )
            self._note_written(stream, stream.pump(_PUMP_SECONDS, wants_boundary=wants_boundary))
            if stream.in_source_transaction:
                if self._is_leaving:
                    stop_deadline = stop_deadline or time.monotonic() + _STOP_GRACE_SECONDS
                    if time.monotonic() > stop_deadline:
                        running.feed.emit(
                            Severity.INFO,
                            "Stopped inside a large source transaction; the next start applies it afresh",
                        )
                        return
                continue
            running.handover.apply_position = stream.position
            self._read_inbox(stream)
            if self._is_leaving:
                self._note_written(stream, stream.drain())
                return
            if order is not None and (order.stop_lsn is None or stream.position >= order.stop_lsn):
                self._stand(stream, order)
                continue
            if running.handover.waiting:
                self._hand_over(stream)
            now = time.monotonic()
            if stream.is_due or (
                stream.is_idle
                and (
                    self._reached(stream.position)
                    or (not stream.is_settled and now - recorded_at > _IDLE_POSITION_SECONDS)
                )
            ):
                stream.submit()
                recorded_at = now

    def _stand(self, stream: ChangeStream, order: Standstill) -> None:
        """Make everything gathered and the position durable; stand still for as long as ordered."""
        self._note_written(stream, stream.drain())
        self._standing = order
        try:
            while self.standstill == order and not self._is_leaving:
                stream.answer(_PUMP_SECONDS)
        finally:
            self._standing = None

    def _note_written(self, stream: ChangeStream, written: list[Written]) -> None:
        """Learn what has become durable."""
        ready = 0
        for one in written:
            for source_oid, changes in one.changes.items():
                self._running.monitor.applied(source_oid, changes)
            for oid in one.commit.promoted:
                self._promoting.discard(oid)
                table = self._synchronized.pop(oid, None)
                if table is not None:
                    self._tables[oid] = replace(table, state=TableState.READY)
                    self._running.monitor.state(oid, TableState.READY)
                    ready += 1
            self._running.monitor.passed_fences(
                sum(one.changes.values()),
                tuple(
                    FenceSeen(each.text, format_lsn(each.position), each.changes_after) for each in one.fences
                ),
            )
            self.transactions += one.transactions
            self.last_commit_at = one.committed_at or self.last_commit_at
        if ready:
            self._announce_ready(ready)
        if written:
            self.durable_lsn = stream.durable

    def _announce_ready(self, count: int) -> None:
        ready = sum(1 for table in self._tables.values() if table.state is TableState.READY)
        self._running.feed.emit(
            Severity.INFO, f"{count} more ready: {ready} tables replicate by the apply stream"
        )

    def _hand_over(self, stream: ChangeStream) -> None:
        """Serve every table that offers itself; see :mod:`engine.replication.handover`."""
        running = self._running
        while (offer := running.handover.accept()) is not None:
            offer.catch_up_to.set_result(stream.position)
            lsn = running.handover.wait_for_accepted(running.stopping, meanwhile=stream.answer)
            if running.stop.is_set():
                return
            if lsn is not None:
                oid = offer.table.oid
                self._tables[oid] = replace(offer.table, state=TableState.SYNCDONE, lsn=lsn)
                self._synchronized[oid] = self._tables[oid]
                stream.forget(oid)
        # Learn at once how far the source is, so that s becomes r without waiting for a change.
        stream.ask_position()

    def _read_inbox(self, stream: ChangeStream) -> None:
        while True:
            try:
                order = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._tables.pop(order.source_oid, None)
            self._synchronized.pop(order.source_oid, None)
            stream.forget(order.source_oid)

    def _set_aside(self, source_oid: int, failure: Failure) -> None:
        """Record the table's error on a fresh session; the transaction that held the change is gone."""
        running = self._running
        with open_session(running.config.target, "apply") as session:
            table = self._tables.get(source_oid)
            if table is not None:
                failure = with_fitting_hint(running.config, session, table, failure)
            StateStore(session, running.subscription).write_error(source_oid, failure.sentence())
        running.monitor.set_aside(source_oid, failure.sentence())
        running.feed.emit(Severity.ERROR, f"Table set aside: {failure.sentence()}")
