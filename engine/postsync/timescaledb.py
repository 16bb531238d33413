"""What of TimescaleDB is left to do on the target once all rows are there: aggregates, policies, jobs.

An aggregate that is computed again is refreshed as a whole. One whose rows were copied must never be, because
that deletes what has no rows below it any more; only its newest bucket is refreshed, which tells TimescaleDB
how far it is (facts, "Continuous aggregates"). Policies that drop rows come after all that reads them.

What deletes or writes rows by itself has to wait for the cutover: on the target it would run into the
changes that still come. So do refreshes where the server does not notice which rows the migration writes
(before 2.23).
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.postsync.checklist import ChecklistItem, Progress, Task
from engine.script.masking import literal
from engine.timescaledb.aggregate import ContinuousAggregate
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.plan import plan_timescaledb
from engine.timescaledb.policy_scripts import JOBS_FILE, RETENTION_POLICIES_FILE
from engine.timescaledb.read_refills import decide_refills
from engine.timescaledb.refill import RefillWay
from engine.timescaledb.words import relation

_AFTER_CUTOVER = (RETENTION_POLICIES_FILE, JOBS_FILE)

_NOTICES_OUR_ROWS_SINCE = (2, 23)
"""Until then triggers told aggregates which rows changed, and a migration's sessions fire none."""

# Never refreshed: the least value of its type.
_HOW_FAR = """
select pg_catalog.format('%I.%I', a.user_view_schema, a.user_view_name),
       coalesce(w.watermark not in (-9223372036854775808, -210866803200000000, -2147483648, -32768), false)
  from _timescaledb_catalog.continuous_agg a
  left join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
"""

_SIZE = "select pg_catalog.to_regclass(%s)::oid::int8, {schema}.hypertable_size(pg_catalog.to_regclass(%s))"
_NEWEST = "select max({bucket})::text, pg_catalog.pg_typeof(max({bucket}))::text from {rows}"
_HAS_ROWS = "select exists (select from {rows} where {column} >= {newest}::{type})"


def plan_timescale_items(source: Session, target: Session, first_number: int) -> tuple[ChecklistItem, ...]:
    """What is to be done, and what was done already; changes nothing.

    Args:
        source, target: In autocommit mode, with no transaction open.
        first_number: Of the first item in its list.

    Returns:
        Nothing unless both sides have TimescaleDB.

    Raises:
        EngineError: A server could not be read.
    """
    plan = plan_timescaledb(source, target)
    if plan is None:
        return ()
    items: list[ChecklistItem] = []
    refreshes: dict[TableName, int] = {}
    if plan.target.installation.is_full:
        ways = {refill.aggregate: refill.way for refill in decide_refills(source, plan.source)}
        try:
            far = {str(name): done is True for name, done in target.execute(_HOW_FAR).fetchall()}
            for view in plan.target.aggregates:
                statement = _refresh(target, plan.target, view, ways.get(view.name))
                if statement is None:
                    continue
                oid, size_bytes = _read_size(target, plan.target, view.reads)
                waits = plan.target.installation.version < _NOTICES_OUR_ROWS_SINCE
                refreshes[view.name] = first_number + len(items)
                items.append(
                    ChecklistItem(
                        number=first_number + len(items),
                        task=Task.AGGREGATE,
                        name=str(view.name),
                        statement=statement,
                        relation_oid=view.materialization_oid or oid,
                        size_bytes=size_bytes,
                        requires=frozenset({refreshes[view.reads]} if view.reads in refreshes else ()),
                        progress=Progress.ALREADY_THERE if far.get(str(view.name)) else Progress.WAITING,
                        after_cutover=waits,
                    )
                )
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "reading its continuous aggregates") from None
    readers = _readers(plan.target, refreshes)
    for script in plan.after_the_copy:
        waits = script.file_name in _AFTER_CUTOVER
        there = [(title, f"-- {title} is there", True) for title in script.already_there]
        for about, statement, is_there in (
            *there,
            *((one.about, one.sql, False) for one in script.to_run),
        ):
            items.append(
                ChecklistItem(
                    number=first_number + len(items),
                    task=Task.POLICY,
                    name=about,
                    statement=statement,
                    # They write the same catalog, and take no time.
                    relation_oid=0,
                    size_bytes=0,
                    requires=readers if waits else frozenset(),
                    progress=Progress.ALREADY_THERE if is_there else Progress.WAITING,
                    after_cutover=waits,
                )
            )
    return tuple(items)


def _readers(catalog: TimescaleCatalog, refreshes: Mapping[TableName, int]) -> frozenset[int]:
    """Refreshes before which nothing may be dropped."""
    return frozenset(refreshes[view.name] for view in catalog.aggregates if view.name in refreshes)


def _refresh(
    target: Session, catalog: TimescaleCatalog, view: ContinuousAggregate, way: RefillWay | None
) -> str | None:
    """The call that brings an aggregate up to date; None when none may be made, or there is nothing to do.

    Raises:
        psycopg.Error: The target could not be read.
    """
    call = catalog.installation.call
    if way is RefillWay.RECOMPUTE:
        return f"CALL {call('refresh_continuous_aggregate', relation(view.name), 'NULL', 'NULL')}"
    if way is not RefillWay.COPY:
        return None
    bucket = sql.Identifier(view.bucket_column)
    rows = sql.Identifier(view.materialization.schema, view.materialization.table)
    found = target.execute(sql.SQL(_NEWEST).format(bucket=bucket, rows=rows)).fetchone()
    assert found is not None  # An aggregate without GROUP BY.
    newest, type_name = found
    column = _time_column(catalog, view.reads)
    if newest is None or column is None:
        return None
    below = sql.SQL(_HAS_ROWS).format(
        rows=sql.Identifier(view.reads.schema, view.reads.table),
        column=sql.Identifier(column),
        newest=sql.Literal(newest),
        type=sql.SQL(str(type_name)),
    )
    if target.execute(below).fetchone() != (True,):
        return None
    begin = f"{literal(str(newest))}::{type_name}"
    return f"CALL {call('refresh_continuous_aggregate', relation(view.name), begin, 'NULL')}"


def _time_column(catalog: TimescaleCatalog, name: TableName) -> str | None:
    for view in catalog.aggregates:
        if view.name == name:
            return view.bucket_column
    for table in catalog.hypertables:
        if table.name == name and table.dimensions[0].partitioning is None:
            return table.dimensions[0].column
    return None


def _read_size(target: Session, catalog: TimescaleCatalog, name: TableName) -> tuple[int, int]:
    """Oid and size in bytes of what an aggregate reads."""
    schema = sql.Identifier(catalog.installation.schema)
    kept = next((view.materialization for view in catalog.aggregates if view.name == name), name)
    row = target.execute(sql.SQL(_SIZE).format(schema=schema), [str(kept), str(kept)]).fetchone()
    assert row is not None  # A SELECT without FROM.
    oid, size_bytes = row
    return int(str(oid or 0)), int(str(size_bytes or 0))
