"""What a subscription's state in the target says, read without an engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.connection.session import Session
from engine.replication.deferred_state import DeferredStep, DeferredStore, StepState
from engine.replication.monitor import recorded_progress
from engine.replication.refresh import unknown_subscription
from engine.replication.slots import list_slots, require_subscription_name
from engine.replication.state import StateStore, TableRow
from engine.snapshot import TableProgress, TableState


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """One slot on the source."""

    name: str
    is_active: bool
    confirmed_flush_lsn: int | None
    wal_status: str


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One subscription as recorded."""

    subscription: str
    publications: tuple[str, ...]
    position_lsn: int | None
    source_flush_lsn: int | None
    last_replicated_lsn: int | None
    last_replicated_txn_time: datetime | None
    updated_at: datetime
    last_error: str | None
    tables: tuple[TableRow, ...]
    slots: tuple[SlotStatus, ...] | None
    """None when no source was given."""

    not_built: tuple[DeferredStep, ...] = ()
    """What a restored schema still lacks, pending or refused by the target."""

    @property
    def tables_set_aside(self) -> tuple[TableRow, ...]:
        """Tables that stopped with an error of their own."""
        return tuple(table for table in self.tables if table.last_error is not None)

    @property
    def progress(self) -> tuple[TableProgress, ...]:
        """The tables as a view shows them; copies are recorded about once a second."""
        return tuple(recorded_progress(table) for table in self.tables)

    @property
    def objects_failed(self) -> tuple[DeferredStep, ...]:
        """Indexes, constraints and others that the target refused."""
        return tuple(step for step in self.not_built if step.state is StepState.FAILED)

    @property
    def lag_bytes(self) -> int | None:
        """Distance between the source's flush position and the target, as last recorded."""
        if self.source_flush_lsn is None or self.last_replicated_lsn is None:
            return None
        return max(0, self.source_flush_lsn - self.last_replicated_lsn)

    def count(self, state: TableState) -> int:
        """How many tables are in ``state``."""
        return sum(1 for table in self.tables if table.state is state)


def read_status(target: Session, subscription: str, source: Session | None = None) -> SubscriptionStatus:
    """Read the state of ``subscription``.

    Raises:
        UsageError: The name is not one.
        BlockedError: The target does not know it.
        EngineError: A server could not be read.
    """
    require_subscription_name(subscription)
    state = StateStore(target, subscription)
    row = state.read() if state.exists() else None
    if row is None:
        raise unknown_subscription(subscription)
    slots = None
    if source is not None:
        slots = tuple(
            SlotStatus(slot.name, slot.active_pid is not None, slot.confirmed_flush_lsn, slot.wal_status)
            for slot in list_slots(source, subscription).values()
        )
    return SubscriptionStatus(
        subscription=subscription,
        publications=row.publications,
        position_lsn=row.progress_lsn,
        source_flush_lsn=row.source_flush_lsn,
        last_replicated_lsn=row.last_replicated_lsn,
        last_replicated_txn_time=row.last_replicated_txn_time,
        updated_at=row.updated_at,
        last_error=row.last_error,
        tables=state.tables(),
        slots=slots,
        not_built=DeferredStore(target, subscription).unfinished(),
    )
