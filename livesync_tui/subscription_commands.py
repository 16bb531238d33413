"""The short commands about one subscription: status, refresh-publication, copy-sequences, drop."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from engine.catalog.table_map import parse_table_map
from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.cutover.sequences import copy_sequences
from engine.errors import ConnectionFailedError, EngineError, Side
from engine.lsn import format_lsn
from engine.replication.copy_rates import CopyRates
from engine.replication.drop import drop_subscription
from engine.replication.refresh import refresh_publication, unknown_subscription
from engine.replication.slots import require_subscription_name
from engine.replication.state import StateStore
from engine.replication.status import SubscriptionStatus, read_status
from engine.script.planned import one_line
from engine.snapshot import CopyTotal, TableProgress, TableState
from engine.timescaledb.source_changes import find_left_over
from livesync_tui import output
from livesync_tui.cli import EXIT_DONE, EXIT_FAILED
from livesync_tui.copy_words import table_fields, table_words, total_fields, total_words

_REFRESH_SECONDS = 30.0
_WATCH_SECONDS = 2.0


def _endpoints(options: argparse.Namespace) -> tuple[Endpoint, Endpoint]:
    return (
        parse_endpoint(Side.SOURCE, options.source or ""),
        parse_endpoint(Side.TARGET, options.target or ""),
    )


def status(options: argparse.Namespace) -> int:
    """Print the recorded state; exit 1 while a table is set aside, an index or constraint was refused, or the
    subscription has an error."""
    source = parse_endpoint(Side.SOURCE, options.source) if options.source else None
    target = parse_endpoint(Side.TARGET, options.target or "")
    rates = CopyRates()
    while True:
        with open_session(target, "status") as target_session:
            if source is None:
                found = read_status(target_session, options.subscription)
            else:
                with open_session(source, "status") as source_session:
                    found = read_status(target_session, options.subscription, source_session)
        tables, total = rates.observe(found.progress, time.monotonic())
        if options.json:
            _print_json(found, tables, total)
        else:
            _print_status(found, tables, total)
        if not options.watch:
            failed = found.tables_set_aside or found.objects_failed or found.last_error
            return EXIT_FAILED if failed else EXIT_DONE
        time.sleep(_WATCH_SECONDS)


def _lsn(lsn: int | None) -> str | None:
    return None if lsn is None else format_lsn(lsn)


def _print_json(found: SubscriptionStatus, tables: Sequence[TableProgress], total: CopyTotal) -> None:
    output.document(
        {
            "subscription": found.subscription,
            "publications": found.publications,
            "position_lsn": _lsn(found.position_lsn),
            "source_flush_lsn": _lsn(found.source_flush_lsn),
            "lag_bytes": found.lag_bytes,
            "last_replicated_txn_time": found.last_replicated_txn_time,
            "updated_at": found.updated_at,
            "last_error": found.last_error,
            "states": {state.value: found.count(state) for state in TableState},
            "copy": total_fields(total),
            "tables": [
                {
                    "source": table.source_name,
                    "target": table.target_name,
                    "state": table.state.value,
                    **table_fields(table),
                    "last_error": table.last_error,
                }
                for table in tables
            ],
            "not_built": [
                {
                    "kind": step.planned.kind,
                    "name": step.planned.name,
                    "state": step.state.value,
                    "last_error": step.last_error,
                }
                for step in found.not_built
            ],
            "slots": None
            if found.slots is None
            else [
                {
                    "name": slot.name,
                    "active": slot.is_active,
                    "confirmed_flush_lsn": _lsn(slot.confirmed_flush_lsn),
                    "wal_status": slot.wal_status,
                }
                for slot in found.slots
            ],
        }
    )


def _print_status(found: SubscriptionStatus, tables: Sequence[TableProgress], total: CopyTotal) -> None:
    age_seconds = (datetime.now(UTC) - found.updated_at).total_seconds()
    lag = "unknown" if found.lag_bytes is None else f"{found.lag_bytes:,} bytes"
    output.line(f"subscription  {found.subscription} (publications {', '.join(found.publications)})")
    output.line(
        f"position      {_lsn(found.position_lsn) or 'none yet'}, lag {lag}, {age_seconds:,.0f} s old"
    )
    states = ", ".join(f"{found.count(state)} {state.word} ({state.value})" for state in TableState)
    output.line(f"tables        {states}")
    output.line(f"copies        {total_words(total)}")
    if found.last_error:
        output.line(f"error         {found.last_error}")
    for slot in found.slots or ():
        active = "active" if slot.is_active else "not active"
        output.line(f"slot          {slot.name}: {active}, WAL {slot.wal_status}")
    for table in tables:
        renamed = "" if table.source_name == table.target_name else f" -> {table.target_name}"
        output.line(f"  {table.state.value}  {table.source_name}{renamed}  {table_words(table)}")
        if table.last_error:
            output.line(f"     {table.last_error}")
    if found.not_built:
        output.line(f"not built yet  {len(found.not_built)} indexes, constraints and other objects")
    for step in found.not_built:
        output.line(f"  {step.label}: {step.state.value}")
        if step.last_error:
            output.line(f"     {step.last_error}")


def refresh(options: argparse.Namespace) -> int:
    """Have the subscription take up what its publications publish now."""
    source, target = _endpoints(options)
    table_map = parse_table_map(options.table_map) if options.table_map else None
    taken_up = refresh_publication(
        source, target, options.subscription, table_map, timeout_seconds=_REFRESH_SECONDS
    )
    output.line(
        "The running engine has taken up the publication."
        if taken_up
        else "No engine is running; the next livesync-tui run takes up the publication."
    )
    return EXIT_DONE


def copy_all_sequences(options: argparse.Namespace) -> int:
    """Set the target's sequences; exit 1 when one could not be set."""
    source, target = _endpoints(options)
    require_subscription_name(options.subscription)
    with open_session(source, "sequences") as source_session, open_session(target, "sequences") as session:
        state = StateStore(session, options.subscription)
        row = state.read() if state.exists() else None
        if row is None:
            raise unknown_subscription(options.subscription)
        outcomes = copy_sequences(source_session, session, row.table_map)
    problems = 0
    for outcome in outcomes:
        if outcome.problem:
            problems += 1
            output.error(f"{outcome.source}: {outcome.problem}")
        else:
            output.line(f"{outcome.target} = {outcome.value}")
    output.line(f"{len(outcomes) - problems} of {len(outcomes)} sequences set.")
    return EXIT_FAILED if problems else EXIT_DONE


def drop(options: argparse.Namespace) -> int:
    """Remove slots and state."""
    source, target = _endpoints(options)
    try:
        dropped = drop_subscription(source, target, options.subscription)
    except ConnectionFailedError as error:
        if error.failure.side is Side.TARGET:
            _print_left_over(source)
        raise
    for slot in dropped.slots:
        output.line(f"Dropped replication slot {slot} on the source.")
    if dropped.not_built:
        output.line(f"The target still lacks {len(dropped.not_built)} parts of the schema; to add them:")
    for step in dropped.not_built:
        output.line(step.planned.statement)
    if dropped.not_put_back:
        output.line(f"The source refused {len(dropped.not_put_back)} changes back to what was before:")
    for result in dropped.not_put_back:
        output.line(f"-- {one_line(result.about)}: {one_line(result.said)}")
        output.line(f"{result.sql};")
    output.line(
        f"Removed the state of {options.subscription} from the target; its tables keep their rows."
        if dropped.had_state
        else f"The target had no state of {options.subscription}."
    )
    return EXIT_DONE


def _print_left_over(source: Endpoint) -> None:
    """Say what a source with TimescaleDB may still have of the migration, when the target cannot be asked."""
    with suppress(EngineError), open_session(source, "drop") as session:
        left_over = find_left_over(session)
        if left_over.statements:
            output.line(left_over.text())
