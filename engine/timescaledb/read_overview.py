"""Puts into words what a source has of TimescaleDB, and what the scripts make of it on the target."""

from __future__ import annotations

from collections.abc import Iterable

from engine.catalog.table import quote_identifier
from engine.connection.session import Session
from engine.errors import Side
from engine.script.planned import ScriptStatement
from engine.timescaledb.aggregate import ContinuousAggregate
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.hypertable import Columnstore, Dimension, Hypertable
from engine.timescaledb.installation import Installation
from engine.timescaledb.job import Job, JobKind
from engine.timescaledb.overview import Making, OverviewLine, Part, TimescaleOverview
from engine.timescaledb.plan import TimescalePlan, plan_timescaledb
from engine.timescaledb.policy_scripts import job_title
from engine.timescaledb.read_catalog import read_catalog
from engine.timescaledb.read_refills import decide_refills
from engine.timescaledb.refill import Refill
from engine.timescaledb.words import extent_text


def read_overview(source: Session, target: Session) -> TimescaleOverview:
    """Look at both sides.

    May take long where aggregates have to be compared with the rows below them.

    Args:
        source, target: In autocommit mode, with no transaction open; nothing is changed.

    Raises:
        EngineError: A server could not be read.
    """
    found = read_catalog(source, Side.SOURCE)
    if found is None:
        return TimescaleOverview("", "", ())
    plan = plan_timescaledb(source, target)
    if plan is None:
        return TimescaleOverview(_said(found.installation), "", tuple(_without(found)))
    refills = {refill.aggregate: refill for refill in decide_refills(source, plan.source)}
    return TimescaleOverview(
        _said(plan.source.installation),
        _said(plan.target.installation),
        (
            *_tables(plan),
            *(_aggregate(view, refills[view.name], plan) for view in plan.source.aggregates),
            *_jobs(plan),
        ),
    )


def _said(installation: Installation) -> str:
    return f"TimescaleDB {installation.version_text}, {installation.edition.value}"


def _without(catalog: TimescaleCatalog) -> Iterable[OverviewLine]:
    """All that is left out where the target's database does not have the extension."""
    why = "the target's database does not have TimescaleDB"
    for table in catalog.hypertables:
        plain = f"{why}: a plain table"
        yield OverviewLine(Part.HYPERTABLE, str(table.name), _of_table(table), Making.LEFT_OUT, plain)
    for view in catalog.aggregates:
        yield OverviewLine(Part.AGGREGATE, str(view.name), _of_view(view), Making.LEFT_OUT, why)
    for job in catalog.jobs:
        yield OverviewLine(Part.POLICY, job_title(job), _of_job(job), Making.LEFT_OUT, why)


def _tables(plan: TimescalePlan) -> Iterable[OverviewLine]:
    for table in plan.source.hypertables:
        making, reason = _making(plan, f"hypertable {table.name}")
        yield OverviewLine(Part.HYPERTABLE, str(table.name), _of_table(table), making, reason)


def _aggregate(view: ContinuousAggregate, refill: Refill, plan: TimescalePlan) -> OverviewLine:
    making, reason = _making(plan, f"continuous aggregate {view.name}")
    return OverviewLine(
        Part.AGGREGATE, str(view.name), _of_view(view), making, reason or refill.reason, refill.way
    )


def _jobs(plan: TimescalePlan) -> Iterable[OverviewLine]:
    there = {title for script in plan.after_the_copy for title in script.already_there}
    apart = {one.about: one.set_apart for script in plan.after_the_copy for one in script.set_apart}
    planned = {one.about for script in plan.after_the_copy for one in script.statements}
    for job in plan.source.jobs:
        title = job_title(job)
        reason = apart.get(title, "")
        making = Making.LEFT_OUT
        if title not in planned and title not in there:
            reason = "only TimescaleDB's own policies of known kinds come over"
        elif not reason:
            making = Making.LATER if title in planned else Making.THERE
        yield OverviewLine(Part.POLICY, title, _of_job(job), making, reason)


def _making(plan: TimescalePlan, about: str) -> tuple[Making, str]:
    statements = [
        statement
        for script in plan.with_the_schema
        for statement in script.statements
        if statement.about == about or statement.about.startswith(f"{about}: ")
    ]
    if not statements:
        return Making.THERE, ""
    itself = _find(statements, about)
    if itself is None:
        return Making.CHANGED, ""
    return (Making.LEFT_OUT, itself.set_apart) if itself.set_apart else (Making.MADE, "")


def _find(statements: Iterable[ScriptStatement], about: str) -> ScriptStatement | None:
    return next((statement for statement in statements if statement.about == about), None)


def _of_table(table: Hypertable) -> str:
    parts = [", ".join(map(_of_dimension, table.dimensions))]
    if table.columnstore is not None:
        parts.append(_of_columnstore(table.columnstore))
    return "; ".join(parts)


def _of_dimension(dimension: Dimension) -> str:
    column = quote_identifier(dimension.column)
    if dimension.extent is None:
        return f"{column} by hash into {dimension.partitions}"
    return f"{column} by {extent_text(dimension.extent)}"


def _of_columnstore(columnstore: Columnstore) -> str:
    if not columnstore.segment_by:
        return "columnstore"
    return f"columnstore by {', '.join(map(quote_identifier, columnstore.segment_by))}"


def _of_view(view: ContinuousAggregate) -> str:
    parts = [f"of {view.reads}"]
    if view.is_real_time:
        parts.append("real-time")
    if view.columnstore is not None:
        parts.append(_of_columnstore(view.columnstore))
    return "; ".join(parts)


def _of_job(job: Job) -> str:
    # Titles of policies say it.
    paused = ", paused" if job.kind is JobKind.USER and not job.is_scheduled else ""
    return f"every {job.schedule_interval}{paused}"
