"""Compares TimescaleDB on both sides, and plans what makes the target like the source."""

from __future__ import annotations

from dataclasses import dataclass

from engine.checks.identity import read_identity
from engine.connection.session import Session
from engine.errors import Side
from engine.script.planned import Script
from engine.timescaledb.aggregate_script import plan_aggregates
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.columnstore_script import plan_columnstores
from engine.timescaledb.hypertable_scripts import plan_hypertables
from engine.timescaledb.policy_scripts import plan_policies
from engine.timescaledb.read_catalog import read_catalog
from engine.timescaledb.same_queries import find_same_queries
from engine.timescaledb.source_changes import paused_jobs


@dataclass(frozen=True, slots=True)
class TimescalePlan:
    """Scripts for the target, in the order to run them."""

    source: TimescaleCatalog
    target: TimescaleCatalog
    with_the_schema: tuple[Script, ...]
    """After tables are there and before rows are: hypertables, aggregates, columnstores."""

    after_the_copy: tuple[Script, ...]
    """Policies and jobs."""


def plan_timescaledb(source: Session, target: Session) -> TimescalePlan | None:
    """Compare both sides.

    Args:
        source: On the source.
        target: In autocommit mode, with no transaction open, as the role that will run the scripts.

    Returns:
        None unless both have the extension.

    Raises:
        EngineError: One of them could not be read.
    """
    wanted = read_catalog(source, Side.SOURCE)
    found = read_catalog(target, Side.TARGET)
    if wanted is None or found is None:
        return None
    wanted = wanted.with_scheduled(paused_jobs(target, read_identity(source, Side.SOURCE)))
    same_queries = find_same_queries(target, wanted, found)
    return TimescalePlan(
        wanted,
        found,
        (
            *plan_hypertables(wanted, found),
            plan_aggregates(wanted, found, same_queries),
            plan_columnstores(wanted, found),
        ),
        plan_policies(wanted, found),
    )
