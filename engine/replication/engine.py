"""The engine: one background thread that supervises a subscription and publishes what it sees.

Threads and what each owns:

    livesync-engine    this module: the lock, the control sessions, orders, metrics, snapshots
    livesync-apply     one ApplyWorker: the apply stream's walsender connection and its batches
    livesync-write     one per stream: the target session that batches are written with
    livesync-sync-N    the SyncPool: one table at a time each
    livesync-index-N   DeferredBuilds: what a restored schema put off until the copy

A failure of one part restarts that part: an apply worker that lost a connection is run again after a
pause while copies go on; a sync worker puts its table back; lost control sessions are opened again. Only
three things end the engine: a stop, a lost ownership, and a failure that another try cannot mend. On the
very first start every failure is final, so that bad input is said at once instead of retried.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg

from engine.checks.hypertables import require_hypertables_ready
from engine.checks.subscription import require_publications
from engine.connection.deadline import deadline
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.errors import (
    BlockedError,
    ConnectionFailedError,
    EngineError,
    Failure,
    Retry,
    Side,
    internal_failure,
)
from engine.feed import Feed
from engine.lsn import format_lsn, parse_lsn
from engine.replication.apply_worker import ApplyWorker
from engine.replication.bootstrap import TableSet, clean_up_sync_slots, refresh_tables, take_over
from engine.replication.chunk_watch import look_at_chunks
from engine.replication.copy_rates import CopyRates
from engine.replication.deferred_builds import DeferredBuilds
from engine.replication.deferred_state import DeferredStore
from engine.replication.handover import HandoverQueue
from engine.replication.monitor import Monitor
from engine.replication.partitions import PartitionWatch
from engine.replication.schema_restore import restore_schema
from engine.replication.slots import apply_slot_name, drop_slot, list_slots, sync_slot_name
from engine.replication.standstill import StandstillStore
from engine.replication.state import EpochLostError, StateStore, TableRow
from engine.replication.stream import StreamEndedError, stream_ended_failure
from engine.replication.subscription import Running, SubscriptionConfig
from engine.replication.sync_pool import SyncPool
from engine.replication.waits import end_forgotten, end_remainder, is_any_working, what_it_waits_for
from engine.snapshot import Event, Lag, Phase, Severity, Snapshot, TableState
from engine.timescaledb.published import has_timescaledb

_TICK_SECONDS = 0.2
_METRICS_SECONDS = 1.0
_RATE_WINDOW_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_JOIN_SECONDS = 30.0

_CONTROL_SECONDS = 60.0
"""How long the control sessions' servers may take to answer before the sessions count as lost."""

_LOOK_AFTER_SECONDS = 2.0
"""How long the apply stream may work on one message before we ask the target what it waits for."""

_CHUNKS_SECONDS = 2.0
"""How often new chunks of hypertables are looked for. Their rows wait in the source meanwhile."""

_FORGOTTEN_SECONDS = 30.0
"""How long it, or a table's sync, may wait for servers that are doing nothing for it."""

_SOURCE_POSITION = """
select pg_catalog.pg_current_wal_flush_lsn()
"""


@dataclass(frozen=True, slots=True)
class _Retry:
    source_oid: int


@dataclass(frozen=True, slots=True)
class _Refresh:
    pass


@dataclass(frozen=True, slots=True)
class _Pause:
    paused: bool


_Order = _Retry | _Refresh | _Pause


@dataclass(frozen=True, slots=True)
class _SourcePosition:
    """What the source last said of itself."""

    flush_lsn: int
    retained_wal_bytes: int | None


class Engine:
    """Runs one subscription on background threads; an :class:`~engine.view.EngineView`."""

    def __init__(self, config: SubscriptionConfig, feed: Feed | None = None) -> None:
        self._config = config
        self._feed = feed or Feed()
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._main, name="livesync-engine", daemon=True)
        self._monitor = Monitor()
        self._seq = 0
        self._phase = Phase.STARTING
        self._failure: Failure | None = None
        self.error: EngineError | None = None
        """Why the engine has ended, None while it runs and after a stop."""

        self._retry_at: float | None = None
        self._paused = False
        self._source_position: _SourcePosition | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._copy_rates = CopyRates()
        self._running: Running | None = None
        self._apply: _ApplyThread | None = None
        self._pool: SyncPool | None = None
        self._deferred: DeferredBuilds | None = None
        self._published: TableSet | None = None
        self._partitions = PartitionWatch()
        self._looked_at_chunks = 0.0
        self._chunks_known_lsn: str | None = None
        self._control_pid: int | None = None
        self._waiting_for: str | None = None

    # --- what a view may ask

    def start(self) -> None:
        """Begin on a background thread."""
        self._publish()
        self._thread.start()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the engine to end; whether it has."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot."""
        return self._feed.snapshot()

    def events(self, since: int) -> tuple[Event, ...]:
        """Events numbered above ``since``."""
        return self._feed.events(since)

    def pause(self) -> None:
        """Stop applying and start no more copies; running copies end first."""
        self._order(_Pause(True))

    def resume(self) -> None:
        """Go on after :meth:`pause`; while retrying, try now."""
        self._order(_Pause(False))

    def refresh_publication(self) -> None:
        """Take up what the publications publish now."""
        self._order(_Refresh())

    def retry(self, source_oid: int) -> None:
        """Copy a table again that was set aside."""
        self._order(_Retry(source_oid))

    def stop(self) -> None:
        """End: finish the open target transaction, record the position."""
        self._stop.set()
        self._wake.set()

    def _order(self, order: _Order) -> None:
        self._orders.put(order)
        self._wake.set()

    # --- the engine's thread

    def _main(self) -> None:
        try:
            self._run_until_stopped()
        except EngineError as error:
            self.error = error
            self._end(Phase.FAILED, error.failure)
        except Exception as error:
            self.error = EngineError(internal_failure(error, "supervising the subscription"))
            self._end(Phase.FAILED, self.error.failure)
            raise
        else:
            self._end(Phase.STOPPED, None)

    def _end(self, phase: Phase, failure: Failure | None) -> None:
        self._phase, self._failure, self._retry_at = phase, failure, None
        self._waiting_for = None
        if failure is not None:
            self._feed.emit(Severity.ERROR, failure.sentence())
        self._publish()

    def _run_until_stopped(self) -> None:
        """Hold the subscription; reopen the control sessions when they are lost."""
        attempts = 0
        while not self._stop.is_set():
            try:
                with (
                    open_session(self._config.source, f"control {self._config.subscription}") as source,
                    open_session(self._config.target, f"control {self._config.subscription}") as target,
                ):
                    self._hold(source, target)
                    return
            except EngineError as error:
                if self._running is None or error.failure.retry is not Retry.TIMED:
                    self._stop_workers()
                    raise
                attempts = 0 if self._phase is not Phase.RETRYING else attempts + 1
                self._wait_before_retry(error.failure, attempts)
        self._stop_workers()

    def _wait_before_retry(self, failure: Failure, attempts: int) -> None:
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempts)
        self._phase, self._failure = Phase.RETRYING, failure
        self._retry_at = time.monotonic() + pause
        self._feed.emit(Severity.WARNING, f"{failure.sentence()} Trying again in {pause:.0f} s.")
        while time.monotonic() < self._retry_at and not self._stop.is_set():
            self._publish()
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
        self._retry_at = None

    def _hold(self, source: Session, target: Session) -> None:
        state = StateStore(target, self._config.subscription)
        with deadline(_CONTROL_SECONDS, target):
            self._end_forgotten(target)
        if self._running is None:
            if not self._begin(source, target, state):
                return
        else:
            with deadline(_CONTROL_SECONDS, source, target):
                self._lock_again(target, state, self._running.epoch)
        self._control_pid = target.info.backend_pid
        standstill = StandstillStore(target, self._config.subscription)
        last_metrics = 0.0
        while not self._stop.is_set():
            self._mind_workers()
            with deadline(_CONTROL_SECONDS, source, target):
                self._obey_orders(source, target, state)
                if time.monotonic() - last_metrics >= _METRICS_SECONDS:
                    if state.refresh_is_requested():
                        self._refresh(source, target, state)
                    self._measure(source, state)
                    self._look_at_stream(source)
                    self._look_at_apply(target)
                    self._look_at_syncs(source, target)
                    self._look_at_partitions(source)
                    self._look_at_chunks(source, target, state)
                    self._end_forgotten(target)
                    last_metrics = time.monotonic()
                # Each time: replication stands still for as long as a verifier and we wait for each other.
                self._look_for_standstill(standstill)
            self._settle_phase()
            self._publish()
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
        self._phase = Phase.STOPPING
        self._publish()
        self._stop_workers()
        self._measure(source, state)

    def _lock_again(self, target: Session, state: StateStore, epoch: int) -> None:
        row = state.read()
        if row is None or row.epoch != epoch:
            raise EpochLostError(self._config.subscription)
        try:
            state.lock()
        except BlockedError as error:
            # The epoch is ours, so the holder is the session we lost, and the target does not know it yet.
            end_remainder(target, self._control_pid)
            raise ConnectionFailedError(replace(error.failure, hint="", retry=Retry.TIMED)) from None

    def _begin(self, source: Session, target: Session, state: StateStore) -> bool:
        """Take the subscription over and start the workers; False when stopped meanwhile."""
        config = self._config
        if config.restores_schema:
            restore_schema(config, source, target, state, self._feed)
        taken = take_over(
            config,
            source,
            target,
            state,
            on_blocked=self._say_blocked,
            should_stop=self._stop.is_set,
        )
        if taken is None:
            return False
        _publish_chunks(config, source, state)
        tables = refresh_tables(
            config, source, target, state, first_position=taken.position if taken.is_new else None
        )
        rows = clean_up_sync_slots(config, source, target, state, tables.rows)
        self._monitor.load(rows)
        stop = threading.Event()
        self._deferred = DeferredBuilds(
            target=config.target,
            subscription=config.subscription,
            epoch=taken.epoch,
            feed=self._feed,
            monitor=self._monitor,
            stop=stop,
            builds_at_a_time=config.index_jobs,
            maintenance_work_mem=config.maintenance_work_mem,
        )
        self._running = Running(
            config, taken.epoch, self._feed, self._monitor, HandoverQueue(), stop, self._deferred
        )
        self._published = tables
        if tables.has_hypertables:
            self._chunks_known_lsn = format_lsn(0)
        self._feed.emit(
            Severity.INFO,
            f"Subscription {config.subscription} {'started' if taken.is_new else 'goes on'} at "
            f"{format_lsn(taken.position)} with {len(rows)} tables",
        )
        deferred = DeferredStore(target, config.subscription)
        deferred.try_again()
        self._deferred.start(deferred.steps())
        self._apply = _ApplyThread(self._running, self._report_apply_failure)
        self._apply.start()
        self._pool = SyncPool(self._running)
        self._queue_tables(rows, tables)
        self._pool.start()
        return True

    def _say_blocked(self, writer: str) -> None:
        self._feed.emit(
            Severity.WARNING, f"The replication slot waits for a transaction on the source to end: {writer}"
        )
        self._publish()

    def _queue_tables(self, rows: tuple[TableRow, ...], tables: TableSet) -> None:
        assert self._pool is not None
        for row in rows:
            published = tables.published.get(row.oid)
            if published is None or row.last_error is not None:
                continue
            if row.state in (TableState.INIT, TableState.DATASYNC, TableState.FINISHEDCOPY):
                self._pool.add(row, published)

    def _report_apply_failure(self, failure: Failure, pause_seconds: float) -> None:
        self._feed.emit(Severity.WARNING, f"{failure.sentence()} Trying again in {pause_seconds:.0f} s.")
        self._wake.set()

    def _stop_workers(self) -> None:
        if self._running is None:
            return
        self._running.stop.set()
        self._running.deferred.join(_JOIN_SECONDS)
        if self._apply is not None:
            self._apply.join(_JOIN_SECONDS)
        if self._pool is not None:
            self._pool.join(_JOIN_SECONDS)

    # --- orders

    def _obey_orders(self, source: Session, target: Session, state: StateStore) -> None:
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                break
            match order:
                case _Pause(paused):
                    self._set_paused(paused)
                case _Refresh():
                    self._refresh(source, target, state)
                case _Retry(source_oid):
                    self._retry_table(source, state, source_oid)

    def _set_paused(self, paused: bool) -> None:
        assert self._apply is not None
        assert self._pool is not None
        if paused != self._paused:
            self._feed.emit(
                Severity.INFO,
                "Paused: nothing is applied, the source keeps WAL from here on" if paused else "Resumed",
            )
        self._paused = paused
        self._apply.pause(paused)
        self._pool.pause(paused)

    def _refresh(self, source: Session, target: Session, state: StateStore) -> None:
        assert self._pool is not None
        assert self._apply is not None
        row = state.read()
        map_now = self._config.table_map if row is None else row.table_map
        try:
            # Without this the tables of a missing publication would count as removed on purpose.
            require_publications(source, self._config.publications)
            tables = refresh_tables(
                self._config.with_table_map(map_now), source, target, state, first_position=None
            )
        except BlockedError as error:
            state.write_refreshed()
            self._feed.emit(Severity.ERROR, f"Publication not refreshed: {error.failure.sentence()}")
            return
        for gone in tables.removed:
            self._apply.exclude(gone.oid)
            self._pool.drop(gone.oid)
        self._published = tables
        if tables.has_hypertables:
            self._chunks_known_lsn = format_lsn(0)
        self._monitor.load(tables.rows)
        added = {row.oid for row in tables.rows if row.source in tables.added}
        self._queue_tables(tuple(row for row in tables.rows if row.oid in added), tables)
        if not self._config.copy_data and added:
            self._apply.restart()
        state.write_refreshed()
        self._feed.emit(
            Severity.INFO,
            f"Publication refreshed: {len(tables.added)} tables added, {len(tables.removed)} removed",
        )

    def _retry_table(self, source: Session, state: StateStore, source_oid: int) -> None:
        assert self._pool is not None
        assert self._published is not None
        published = self._published.published.get(source_oid)
        table = self._monitor.table(source_oid)
        if published is None or table is None or table.last_error is None:
            return
        # The apply worker left the table when it was set aside.
        drop_slot(source, sync_slot_name(self._config.subscription, source_oid))
        state.reset_table(source_oid)
        rows = state.tables()
        self._monitor.load(rows)
        self._queue_tables(tuple(row for row in rows if row.oid == source_oid), self._published)
        self._feed.emit(Severity.INFO, f"Trying {table.source_name} again from the start")

    # --- watching

    def _mind_workers(self) -> None:
        assert self._apply is not None
        assert self._pool is not None
        assert self._deferred is not None
        fatal = self._apply.fatal or self._pool.fatal or self._deferred.fatal
        if fatal is not None:
            raise fatal

    def _measure(self, source: Session, state: StateStore) -> None:
        """Ask the source where it is; write the monitoring row and the copies' progress."""
        try:
            row = source.execute(_SOURCE_POSITION).fetchone()
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "reading its position") from None
        assert row is not None
        flush_lsn = parse_lsn(str(row[0]))
        slot = list_slots(source, self._config.subscription).get(apply_slot_name(self._config.subscription))
        retained = None
        if slot is not None and slot.restart_lsn is not None:
            retained = max(0, flush_lsn - slot.restart_lsn)
        self._source_position = _SourcePosition(flush_lsn, retained)
        applied = None if self._apply is None else self._apply.durable_lsn
        applied_at = None if self._apply is None else self._apply.last_commit_at
        failure = self._current_failure()
        state.write_metrics(flush_lsn, applied, applied_at, None if failure is None else failure.sentence())
        for table in self._monitor.tables():
            if table.state is TableState.DATASYNC and table.last_error is None:
                state.write_copy_progress(table.source_oid, table.rows_copied, table.bytes_copied)

    def _look_at_stream(self, source: Session) -> None:
        """Cut the apply stream off from a source that has nothing to do for it and yet does not answer."""
        assert self._apply is not None
        worker = self._apply.worker
        pid = worker.source_pid
        if pid is None or worker.silent_seconds < _FORGOTTEN_SECONDS:
            return
        if not is_any_working(source, Side.SOURCE, [pid]):
            worker.cut_off_source()

    def _look_for_standstill(self, store: StandstillStore) -> None:
        """Have the apply stream stand still for as long as a verifier asks for it."""
        assert self._apply is not None
        worker = self._apply.worker
        order = store.wanted()
        worker.stand_still(order)
        if order is None:
            return
        if self._paused:
            store.refuse(order, "The engine is paused")
        elif worker.standing == order:
            store.write_standing(order)

    def _look_at_apply(self, target: Session) -> None:
        """Say what the apply stream waits for on the target; cut it off from a target that forgot it."""
        assert self._apply is not None
        worker = self._apply.worker
        seconds, pid = worker.step_seconds, worker.target_pid
        if seconds < _LOOK_AFTER_SECONDS or pid is None:
            if self._waiting_for is not None:
                self._feed.emit(Severity.INFO, "The apply stream moves again")
            self._waiting_for = None
            return
        wait = what_it_waits_for(target, pid)
        if self._waiting_for is None:
            self._feed.emit(Severity.WARNING, f"The apply stream waits for {wait.words}")
        self._waiting_for = wait.words
        if not wait.is_working and seconds > _FORGOTTEN_SECONDS:
            worker.cut_off()

    def _look_at_syncs(self, source: Session, target: Session) -> None:
        """Cut a table's sync off from servers that both wait for it while it waits for them."""
        assert self._pool is not None
        assert self._deferred is not None
        for sessions in (*self._pool.at_work(), *self._deferred.at_work()):
            if sessions.still_seconds > _FORGOTTEN_SECONDS and not (
                is_any_working(source, Side.SOURCE, sessions.pids(Side.SOURCE))
                or is_any_working(target, Side.TARGET, sessions.pids(Side.TARGET))
            ):
                sessions.cut_off()

    def _end_forgotten(self, target: Session) -> None:
        """Clear what a dead link left in our own way."""
        if ended := end_forgotten(target, _FORGOTTEN_SECONDS):
            self._feed.emit(Severity.WARNING, f"Ended {ended} forgotten sessions of ours on the target")

    def _look_at_partitions(self, source: Session) -> None:
        """Say which rows came to or left a published table without a change that tells so."""
        assert self._published is not None
        published = self._published.published
        roots = [oid for oid, table in published.items() if table.is_partitioned]
        for move in self._partitions.look(source, roots):
            table = self._monitor.table(move.root_oid)
            if table is None or table.last_error is not None or table.state is TableState.INIT:
                continue  # Its next copy takes the partitions as they are.
            self._feed.emit(Severity.WARNING, move.sentence(table.source_name, table.target_name))

    def _look_at_chunks(self, source: Session, target: Session, state: StateStore) -> None:
        """Take up new chunks of hypertables; say which can no longer be right."""
        assert self._published is not None
        assert self._apply is not None
        assert self._pool is not None
        if not self._published.has_hypertables:
            self._chunks_known_lsn = None
            return
        if time.monotonic() - self._looked_at_chunks < _CHUNKS_SECONDS:
            return
        publications = self._config.publications
        position = self._source_position
        require_hypertables_ready(source, publications, copy_data=self._config.copy_data)
        chunks = look_at_chunks(source, publications, state.tables())
        for oid, failure in chunks.broken:
            self._apply.exclude(oid)
            self._pool.drop(oid)
            state.write_error(oid, failure.sentence())
        if chunks.broken:
            self._feed.emit(Severity.ERROR, chunks.broken[0][1].sentence())
            self._monitor.load(state.tables())
        if chunks.is_changed:
            self._refresh(source, target, state)
        elif chunks.is_complete and position is not None:
            self._chunks_known_lsn = format_lsn(position.flush_lsn)
        self._looked_at_chunks = 0.0 if chunks.is_changed else time.monotonic()

    def _current_failure(self) -> Failure | None:
        if self._failure is not None:
            return self._failure
        return None if self._apply is None else self._apply.failure

    def _settle_phase(self) -> None:
        assert self._apply is not None
        if self._paused:
            phase = Phase.PAUSED
        elif self._apply.failure is not None:
            phase = Phase.RETRYING
        else:
            tables = [table for table in self._monitor.tables() if table.last_error is None]
            done = all(table.state in (TableState.SYNCDONE, TableState.READY) for table in tables)
            phase = Phase.REPLICATING if done else Phase.COPYING
        self._phase, self._failure = phase, None

    def _publish(self) -> None:
        now = time.monotonic()
        building = {} if self._deferred is None else self._deferred.activities()
        tables, copy_total = self._copy_rates.observe(
            (
                replace(table, activity=building[table.source_oid]) if table.source_oid in building else table
                for table in self._monitor.tables()
            ),
            now,
        )
        self._samples.append((now, self._monitor.changes_applied))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_SECONDS:
            self._samples.popleft()
        first = self._samples[0]
        span = now - first[0]
        self._seq += 1
        apply = self._apply
        durable = None if apply is None else apply.durable_lsn
        pool_busy = 0 if self._pool is None else self._pool.busy
        self._feed.publish(
            Snapshot(
                seq=self._seq,
                taken_monotonic_seconds=now,
                taken_at=datetime.now(UTC),
                phase=self._phase,
                subscription=self._config.subscription,
                tables=tables,
                source_flush_lsn=None
                if self._source_position is None
                else format_lsn(self._source_position.flush_lsn),
                applied_lsn=None if durable is None else format_lsn(durable),
                lag=self._lag(durable),
                changes_per_second=(self._monitor.changes_applied - first[1]) / span if span > 1 else None,
                copy_total=copy_total,
                transactions_applied=0 if apply is None else apply.transactions,
                sync_workers_busy=pool_busy,
                sync_workers=self._config.sync_workers,
                failure=self._current_failure(),
                retry_at_monotonic_seconds=self._retry_at or (None if apply is None else apply.retry_at),
                waiting_for=self._waiting_for,
                objects_to_build=0 if self._deferred is None else self._deferred.remaining,
                objects_failed=0 if self._deferred is None else self._deferred.failed,
                fences=self._monitor.fences,
                chunks_known_lsn=self._chunks_known_lsn,
            )
        )

    def _lag(self, durable: int | None) -> Lag | None:
        position = self._source_position
        if position is None or durable is None:
            return None
        lag_bytes = max(0, position.flush_lsn - durable)
        last_commit_at = None if self._apply is None else self._apply.last_commit_at
        seconds: float | None = 0.0
        if lag_bytes:
            seconds = (
                None
                if last_commit_at is None
                else max(0.0, (datetime.now(UTC) - last_commit_at).total_seconds())
            )
        return Lag(lag_bytes, seconds, position.retained_wal_bytes)


def _publish_chunks(config: SubscriptionConfig, source: Session, state: StateStore) -> None:
    """Before the tables are read: publish chunks that were made since the last start."""
    with deadline(_CONTROL_SECONDS, source):
        if not has_timescaledb(source, Side.SOURCE):
            return
    known = state.tables()
    with deadline(_CONTROL_SECONDS, source):
        chunks = look_at_chunks(source, config.publications, known)
    for oid, failure in chunks.broken:
        state.write_error(oid, failure.sentence())


class _ApplyThread:
    """Runs the apply worker again and again until the engine stops or it fails for good."""

    def __init__(self, running: Running, on_failure: Callable[[Failure, float], None]) -> None:
        self._running = running
        self._on_failure = on_failure
        self._worker = ApplyWorker(running, self._streaming)
        self._paused = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._main, name="livesync-apply", daemon=True)
        self.fatal: EngineError | None = None
        self.failure: Failure | None = None
        self.retry_at: float | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread after the engine's stop was set."""
        self._wake.set()
        self._thread.join(timeout_seconds)

    @property
    def worker(self) -> ApplyWorker:
        """For looking at what it waits for."""
        return self._worker

    @property
    def durable_lsn(self) -> int | None:
        """Position durable on the target."""
        return self._worker.durable_lsn

    @property
    def last_commit_at(self) -> datetime | None:
        """When the last applied transaction was committed on the source."""
        return self._worker.last_commit_at

    @property
    def transactions(self) -> int:
        """Source transactions dealt with since the engine started."""
        return self._worker.transactions

    def exclude(self, source_oid: int) -> None:
        """Take no more changes of a table."""
        self._worker.exclude(source_oid)

    def pause(self, paused: bool) -> None:
        """Leave the stream at the next boundary, or go on; going on also ends a wait before a retry."""
        self._paused = paused
        if paused:
            self._worker.leave()
        self._wake.set()

    def restart(self) -> None:
        """Leave the stream at the next boundary and read the tables' states again."""
        self._worker.leave()

    def _main(self) -> None:
        attempts = 0
        while not self._running.stop.is_set():
            if self._paused:
                self._wake.wait(_TICK_SECONDS)
                self._wake.clear()
                continue
            started = time.monotonic()
            try:
                self._worker.run()
            except StreamEndedError:
                failure = stream_ended_failure()
            except EngineError as error:
                if error.failure.retry is not Retry.TIMED:
                    self.fatal = error
                    return
                failure = error.failure
            except Exception as error:
                self.fatal = EngineError(internal_failure(error, "applying changes"))
                raise
            else:
                attempts = 0
                continue
            attempts = 0 if time.monotonic() - started > _LONGEST_PAUSE_SECONDS else attempts + 1
            self._wait(failure, attempts)

    def _streaming(self) -> None:
        self.failure = None

    def _wait(self, failure: Failure, attempts: int) -> None:
        if self._running.stop.is_set():
            return
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** max(0, attempts - 1))
        self.failure = failure
        self.retry_at = time.monotonic() + pause
        self._on_failure(failure, pause)
        self._wake.clear()
        self._wake.wait(pause)
        self.retry_at = None
