"""Takes over a subscription: checks what can be checked, creates or finds its state and its slot.

Order, so that a crash at any point is recognised by the next start:

1. the lock; 2. the subscription's row; 3. the epoch; 4. the apply slot; 5. the first position. Before 2, what
the source has to do otherwise for the migration's time.

A row without a position means that 4 or 5 did not happen: a slot of that name is then ours and unused. A
slot without a row belongs to somebody else and is left alone. A position without a slot means that the
source has forgotten us: changes may be lost, so it is said and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.catalog.table import TableName
from engine.catalog.tables import missing_tables
from engine.checks.hypertables import require_hypertables_ready
from engine.checks.subscription import require_different_databases, require_publications, require_source_ready
from engine.connection.deadline import deadline
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side, SubscriptionBrokenError, TableError
from engine.lsn import format_lsn
from engine.replication.drift import with_first_start_hint
from engine.replication.publication import PublishedTable, list_published_tables
from engine.replication.slots import (
    Slot,
    apply_slot_name,
    drop_slot,
    list_slots,
    oldest_writer,
    require_subscription_name,
    sync_slot_name,
)
from engine.replication.state import StateStore, SubscriptionRow, TableRow
from engine.replication.stream import ReplicationConnection
from engine.replication.subscription import SubscriptionConfig
from engine.replication.target_table import match_columns, missing_table_error, read_target_table
from engine.snapshot import TableState
from engine.timescaledb.source_changes import SourceChangeStore, make_changes, plan_changes

_ANSWER_SECONDS = 60.0
"""How long a server may take over one step of starting before its session counts as lost. There is no limit
for all of them: thousands of tables on a distant target take minutes."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A subscription that is ours to run."""

    epoch: int
    is_new: bool
    position: int


def take_over(
    config: SubscriptionConfig,
    source: Session,
    target: Session,
    state: StateStore,
    *,
    on_blocked: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> TakenOver | None:
    """Make the subscription ours.

    Args:
        config: What the user asked for.
        source: A session for reading and for slots.
        target: The session that holds the lock from now on.
        state: Over ``target``.
        on_blocked: Told which transaction the new slot waits for.
        should_stop: Looked at between attempts to create the slot.

    Returns:
        None when ``should_stop`` said so.

    Raises:
        UsageError, BlockedError, SubscriptionBrokenError, EngineError: Why it cannot run.
    """
    require_subscription_name(config.subscription)
    with deadline(_ANSWER_SECONDS, source, target):
        require_different_databases(source, target)
        require_publications(source, config.publications)
        require_hypertables_ready(source, config.publications, copy_data=config.copy_data)
        known = _read_known(state)
        slots = list_slots(source, config.subscription)
    slot = slots.get(apply_slot_name(config.subscription))
    if known is None or known.progress_lsn is None:
        with deadline(_ANSWER_SECONDS, source):
            require_source_ready(source)
        _require_tables(config, source, target)
    if known is None and slot is not None:
        raise BlockedError(
            Failure(
                title=f"The source already has a replication slot {slot.name} that this target does not know",
                hint="Choose another --subscription name, or drop that slot if nothing uses it",
                side=Side.SOURCE,
                retry=Retry.NEVER,
            )
        )
    with deadline(_ANSWER_SECONDS, target):
        state.create()
        state.lock()
    if known is None or known.progress_lsn is None:
        # Before the slot: what is written from its position on has to be seen, and no job may change chunks.
        with deadline(_ANSWER_SECONDS, source, target):
            make_changes(source, SourceChangeStore(target, config.subscription), plan_changes(source))
    with ReplicationConnection(config.source, f"control {config.subscription}") as walsender:
        with deadline(_ANSWER_SECONDS, walsender.session, source, target):
            epoch, position = _enter(config, walsender, source, state, known)
            if position is not None:
                require_usable(config.subscription, slot, position)
                return TakenOver(epoch, is_new=False, position=position)
            if slot is not None:
                drop_slot(source, slot.name)
        created = walsender.create_slot(
            apply_slot_name(config.subscription),
            on_blocked=lambda: _name_blocker(source, on_blocked),
            should_stop=should_stop,
        )
        if created is None:
            return None
        with deadline(_ANSWER_SECONDS, target):
            state.start_progress(epoch, created.consistent_lsn)
        return TakenOver(epoch, is_new=True, position=created.consistent_lsn)


def _enter(
    config: SubscriptionConfig,
    walsender: ReplicationConnection,
    source: Session,
    state: StateStore,
    known: SubscriptionRow | None,
) -> tuple[int, int | None]:
    """Record what runs now; the new epoch, and the position to go on from if there is one."""
    system_identifier = walsender.system_identifier()
    database = source.info.dbname
    if known is not None:
        _require_same_source(config, known, system_identifier, database)
    state.insert(
        config.publications,
        apply_slot_name(config.subscription),
        system_identifier,
        database,
        config.table_map,
        copy_data=config.copy_data,
    )
    state.update_publications(config.publications, config.table_map)
    return state.take_over()


def _name_blocker(source: Session, on_blocked: Callable[[str], None]) -> None:
    with deadline(_ANSWER_SECONDS, source):
        writer = oldest_writer(source)
    on_blocked(writer or "an unknown transaction")


def _read_known(state: StateStore) -> SubscriptionRow | None:
    return state.read() if state.exists() else None


def _require_same_source(
    config: SubscriptionConfig, known: SubscriptionRow, system_identifier: str, database: str
) -> None:
    if (known.source_system_identifier, known.source_database) == (system_identifier, database):
        return
    raise SubscriptionBrokenError(
        Failure(
            title=f"Subscription {config.subscription} was started from another source "
            f"(database {known.source_database} of system {known.source_system_identifier}, "
            f"not {database} of {system_identifier})",
            hint="Give the source it was started from, or another --subscription name for a new migration",
            side=Side.SOURCE,
            retry=Retry.NEVER,
        )
    )


def require_usable(subscription: str, slot: Slot | None, position: int) -> None:
    """Refuse to go on where changes may be missing.

    Raises:
        SubscriptionBrokenError: The slot is gone, lost its WAL, or is ahead of the target.
    """
    start_over = (
        f"Start over: livesync-tui drop --subscription {subscription}, empty the target tables, run again"
    )
    name = apply_slot_name(subscription)
    if slot is None:
        raise SubscriptionBrokenError(
            Failure(
                title=f"The replication slot {name} is gone from the source, so changes since "
                f"{format_lsn(position)} cannot be had",
                hint=start_over,
                side=Side.SOURCE,
                retry=Retry.NEVER,
            )
        )
    if slot.wal_status == "lost":
        raise SubscriptionBrokenError(
            Failure(
                title=f"The source removed WAL that the replication slot {name} still needed "
                "(max_slot_wal_keep_size)",
                hint=start_over,
                side=Side.SOURCE,
                retry=Retry.NEVER,
            )
        )
    if slot.confirmed_flush_lsn is not None and slot.confirmed_flush_lsn > position:
        raise SubscriptionBrokenError(
            Failure(
                title=f"The target is at {format_lsn(position)}, but it had confirmed "
                f"{format_lsn(slot.confirmed_flush_lsn)} to the source: it lost commits "
                "(a restored backup, a failover to a replica that was behind)",
                hint=start_over,
                side=Side.TARGET,
                retry=Retry.NEVER,
            )
        )


def _require_tables(config: SubscriptionConfig, source: Session, target: Session) -> None:
    """Refuse a first start while a published table or column has no place on the target.

    Raises:
        BlockedError: Names what is missing.
    """
    with deadline(_ANSWER_SECONDS, source):
        published = list_published_tables(source, config.publications)
    if not published:
        raise BlockedError(
            Failure(
                title=f"The publication {', '.join(config.publications)} publishes no table",
                hint="Add tables on the source: alter publication … add table …",
                side=Side.SOURCE,
                retry=Retry.MANUAL,
            )
        )
    pairs = {table.name: config.table_map.target_of(table.mapped_name) for table in published}
    with deadline(_ANSWER_SECONDS, target):
        missing = set(missing_tables(target, tuple(dict.fromkeys(pairs.values()))))
    if missing:
        listed = [f"{name}" for name in sorted(missing)]
        shown = ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
        raise BlockedError(
            Failure(
                title=f"The target lacks {len(listed)} of the published tables: {shown}",
                hint="Restore the schema on the target first (pg_dump --schema-only), "
                "or map them with --table-map",
                side=Side.TARGET,
                retry=Retry.MANUAL,
            )
        )
    for table in published:
        try:
            with deadline(_ANSWER_SECONDS, target):
                target_table = read_target_table(target, table.name, pairs[table.name])
        except TableError as error:
            raise BlockedError(error.failure) from None
        try:
            match_columns(table.name, table.columns, target_table)
        except TableError as error:
            raise BlockedError(with_first_start_hint(source, table, target_table, error.failure)) from None


@dataclass(frozen=True, slots=True)
class TableSet:
    """The tables of a subscription after comparing record and publications."""

    rows: tuple[TableRow, ...]
    published: dict[int, PublishedTable]
    added: tuple[TableName, ...]
    removed: tuple[TableRow, ...]

    @property
    def has_hypertables(self) -> bool:
        return any(table.part is not None for table in self.published.values())


def refresh_tables(
    config: SubscriptionConfig,
    source: Session,
    target: Session,
    state: StateStore,
    *,
    first_position: int | None,
) -> TableSet:
    """Bring the record of tables in line with what the publications publish now.

    Args:
        config: Publications and map.
        source: A session on the source.
        target: A session on the target.
        state: Over the target.
        first_position: The apply slot's consistent point when the subscription is new.

    Raises:
        BlockedError: Two publications publish different columns of one table; nothing was written.
        EngineError: A server could not be read or written.
    """
    with deadline(_ANSWER_SECONDS, source, target):
        published = {table.oid: table for table in list_published_tables(source, config.publications)}
        recorded = {row.oid: row for row in state.tables()}
    added = [table for oid, table in published.items() if oid not in recorded]
    removed = tuple(
        row for oid, row in recorded.items() if oid not in published and not _goes_on(row, published)
    )
    # Without copying, a table's changes are wanted from the moment it is known.
    initial = TableState.INIT if config.copy_data else TableState.READY
    with deadline(_ANSWER_SECONDS, target):
        state.insert_tables(
            TableRow(
                oid=table.oid,
                publication=table.publications[0],
                source=table.name,
                target=config.table_map.target_of(table.mapped_name),
                state=initial,
                lsn=None if config.copy_data else first_position,
                last_error=None,
                copy_again=False,
                rows_copied=0,
                bytes_copied=0,
                approximate_rows=table.approximate_rows,
                approximate_size_bytes=table.size_bytes,
                hypertable_oid=None if table.part is None else table.part.hypertable_oid,
                rows_condition=None if table.part is None else table.part.rows_condition,
            )
            for table in added
        )
    for row in removed:
        with deadline(_ANSWER_SECONDS, source, target):
            state.delete_table(row.oid)
            drop_slot(source, sync_slot_name(config.subscription, row.oid))
    for oid, row in recorded.items():
        table = published.get(oid)
        if table is None:
            continue
        with deadline(_ANSWER_SECONDS, target):
            target_name = _target_now(config, target, row, table.mapped_name)
            if (row.source, row.target) != (table.name, target_name):
                state.rename_table(oid, table.publications[0], table.name, target_name)
    with deadline(_ANSWER_SECONDS, target):
        _set_aside_without_target(config, target, state, [table.name for table in added], published)
        rows = state.tables()
    return TableSet(rows, published, tuple(table.name for table in added), removed)


def _goes_on(row: TableRow, published: Mapping[int, PublishedTable]) -> bool:
    """Whether changes of a chunk that is gone may still come: they name it as it was called."""
    return (
        row.is_chunk
        and row.hypertable_oid in published
        and row.state in (TableState.SYNCDONE, TableState.READY)
    )


def _target_now(config: SubscriptionConfig, target: Session, row: TableRow, name: TableName) -> TableName:
    """Where a known table lands, now that it is called ``name`` on the source.

    Its rows stay where they are, also when it was renamed on the source: it follows the name only to
    where the rows went, that is when its table on the target was renamed as well.
    """
    mapped = config.table_map.target_of(name)
    holds_rows = row.copy_again or row.state not in (TableState.INIT, TableState.DATASYNC)
    if mapped == row.target or not holds_rows:
        return mapped
    return mapped if missing_tables(target, (mapped, row.target)) == (row.target,) else row.target


def _set_aside_without_target(
    config: SubscriptionConfig,
    target: Session,
    state: StateStore,
    added: list[TableName],
    published: dict[int, PublishedTable],
) -> None:
    """A new table without a counterpart is its own problem, not the subscription's."""
    names = set(added)
    targets = {
        table.name: config.table_map.target_of(table.mapped_name)
        for table in published.values()
        if table.name in names
    }
    missing = set(missing_tables(target, tuple(dict.fromkeys(targets.values()))))
    for oid, table in published.items():
        if table.name in targets and targets[table.name] in missing:
            state.write_error(oid, missing_table_error(table.name, targets[table.name]).failure.sentence())


def clean_up_sync_slots(
    config: SubscriptionConfig,
    source: Session,
    target: Session,
    state: StateStore,
    rows: tuple[TableRow, ...],
) -> tuple[TableRow, ...]:
    """Drop sync slots that no table goes on from; start over tables whose slot is gone.

    Returns:
        The tables as recorded afterwards.

    Raises:
        EngineError: A server could not be read or written.
    """
    with deadline(_ANSWER_SECONDS, source):
        slots = list_slots(source, config.subscription)
    slots.pop(apply_slot_name(config.subscription), None)
    going_on = {
        sync_slot_name(config.subscription, row.oid): row
        for row in rows
        if row.state is TableState.FINISHEDCOPY and row.last_error is None
    }
    for name in slots:
        if name not in going_on:
            with deadline(_ANSWER_SECONDS, source):
                drop_slot(source, name)
    for name, row in going_on.items():
        slot = slots.get(name)
        if slot is None or slot.wal_status == "lost" or (slot.confirmed_flush_lsn or 0) > (row.lsn or 0):
            with deadline(_ANSWER_SECONDS, source, target):
                drop_slot(source, name)
                state.reset_table(row.oid)
    with deadline(_ANSWER_SECONDS, target):
        return state.tables()
