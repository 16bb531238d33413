"""Brings the source's schema to an empty target at the first start, and records what waits for rows.

One transaction of psql makes tables, types, functions and views and records the steps that are put off
(:mod:`engine.schema.deferral`). A crash leaves either nothing or both, so a later start sees by the tables
whether there is anything to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from engine.catalog.tables import missing_tables
from engine.checks.subscription import require_different_databases, require_publications, require_source_ready
from engine.connection.endpoint import Endpoint
from engine.connection.session import Session, open_session
from engine.errors import BlockedError, EngineError, Failure, Retry, Side
from engine.feed import Feed
from engine.replication.deferred_state import DeferredStore, insert_script
from engine.replication.publication import list_published_tables
from engine.replication.slots import require_subscription_name
from engine.replication.state import StateStore
from engine.replication.subscription import SubscriptionConfig
from engine.schema.archive import dump_archive
from engine.schema.deferral import plan_deferral
from engine.schema.restore import apply_script
from engine.schema.script import ScriptOutcome
from engine.snapshot import Severity
from engine.timescaledb.made import read_made, sort_entries
from engine.timescaledb.restored import plan_restored


def restore_schema(
    config: SubscriptionConfig, source: Session, target: Session, state: StateStore, feed: Feed
) -> None:
    """Restore the schema unless that was done before or the tables are there.

    Args:
        config: What the user asked for; without a table map.
        source: A session on the source.
        target: The session that holds the subscription's lock from now on.
        state: Over ``target``.
        feed: Told what was done, or why nothing.

    Raises:
        UsageError, BlockedError: A precondition of the start does not hold, or only some tables are there;
            nothing was changed.
        EngineError: A program or a server failed; the target has nothing of the schema.
    """
    require_subscription_name(config.subscription)
    if state.exists() and (
        state.read() is not None or DeferredStore(target, config.subscription).steps() != ()
    ):
        return
    require_different_databases(source, target)
    require_publications(source, config.publications)
    require_source_ready(source)
    listed = list_published_tables(source, config.publications)
    published = list(dict.fromkeys(table.mapped_name for table in listed))
    missing = set(missing_tables(target, published))
    present = [name for name in published if name not in missing]
    if present and missing:
        raise BlockedError(
            Failure(
                title=f"The target has {len(present)} of the published tables, such as {present[0]}, "
                f"and lacks {len(missing)}, such as {min(missing)}",
                hint="Empty the target for --schema, or restore the rest by hand and run without --schema",
                side=Side.TARGET,
                retry=Retry.MANUAL,
            )
        )
    if not published:
        return  # Taking over says so.
    if present:
        feed.emit(
            Severity.INFO, "The published tables are on the target already; the schema is left as it is"
        )
        return
    feed.emit(Severity.INFO, "Reading the schema of the source")
    brought = bring_schema(config.source, config.target, config.subscription, source, state)
    if not brought.outcome.applied:
        raise EngineError(
            Failure(
                title="The schema could not be restored on the target; nothing was changed",
                detail=brought.outcome.error,
                hint="Mend that, or restore the schema by hand and run without --schema",
                side=Side.TARGET,
                retry=Retry.MANUAL,
            )
        )
    feed.emit(
        Severity.INFO,
        f"Schema restored; {brought.waiting} indexes, constraints and other objects wait for the rows",
    )
    for note in brought.notes:
        feed.emit(Severity.WARNING, note)


@dataclass(frozen=True, slots=True)
class BroughtSchema:
    """What became of a restore."""

    outcome: ScriptOutcome
    """What psql said."""

    waiting: int
    """Objects that are made once rows are there."""

    notes: tuple[str, ...]
    """What is not as on the source, and why."""


def bring_schema(
    source_endpoint: Endpoint,
    target_endpoint: Endpoint,
    subscription: str,
    source: Session,
    state: StateStore,
) -> BroughtSchema:
    """Restore what does not wait for rows, and record what does, in one transaction.

    Hypertables and continuous aggregates are made in it too, where both sides have TimescaleDB; columnstores
    come last of all.

    Args:
        source_endpoint: For pg_dump.
        target_endpoint: For psql.
        subscription: Whose engine builds the rest.
        source: A session on the source.
        state: Of the subscription; locked from now on, so that no engine starts meanwhile.

    Raises:
        BlockedError: The target could have TimescaleDB, as the source does, and does not.
        EngineError: A program or a server failed; the target has nothing of the schema.
    """
    state.create()
    state.lock()
    made = read_made(source, Side.SOURCE)
    archive = dump_archive(
        source_endpoint, source.info.server_version, lambda entries: sort_entries(entries, made)
    )
    with open_session(target_endpoint, "TimescaleDB") as target:
        restored = plan_restored(archive, made, source, target)
    steps = restored.put_off(plan_deferral(source, restored.archive))
    record = resources.files("engine.replication").joinpath("state.sql").read_text()
    # The record first: pg_dump's script changes settings.
    script = (
        record,
        "set standard_conforming_strings = on;\n",
        insert_script(subscription, steps),
        archive.pre_data,
        restored.after_tables,
    )
    return BroughtSchema(apply_script(target_endpoint, "".join(script)), len(steps), restored.notes)
