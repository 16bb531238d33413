"""Decides for each continuous aggregate whether it may be refreshed as a whole, or has to be copied.

A refresh without a start, as the seed's "7.1" asks for, deletes the buckets that have no rows below them any
more. So only an aggregate that the rows there are give again is recomputed: nothing drops
old rows of what it reads, there is no hole in its chunks where the aggregate has a bucket, and its oldest
bucket comes out the same. In doubt it is copied, which is right in any case.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import Side
from engine.timescaledb.aggregate import ContinuousAggregate
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.job import JobKind
from engine.timescaledb.refill import Refill, RefillWay

LONGEST_COMPARISON_SECONDS = 30.0
"""How long an aggregate's oldest bucket may be computed; one of months may hold many rows."""

_OLDEST = "select min({bucket})::text, pg_catalog.pg_typeof(min({bucket}))::text from {rows}"

_DIRECT_VIEW = """
select a.direct_view_schema::text, a.direct_view_name::text
  from _timescaledb_catalog.continuous_agg a
 where a.user_view_schema = %s and a.user_view_name = %s
"""

# Chunks may overlap after the extent was changed.
_HOLES = """
with part as (
    select coalesce(c.range_start_integer::text, c.range_start::text)::{type} as range_start,
           coalesce(c.range_end_integer::text, c.range_end::text)::{type} as range_end
      from timescaledb_information.chunks c
     where c.hypertable_schema = %(schema)s and c.hypertable_name = %(table)s
), hole as (
    select pg_catalog.max(p.range_end) over (order by p.range_start) as begins,
           pg_catalog.lead(p.range_start) over (order by p.range_start) as ends
      from part p
)
select exists (select from hole h join {rows} r on r.{bucket} >= h.begins and r.{bucket} < h.ends)
"""

# Both limits, because TimescaleDB leaves out chunks by < and > only.
_DIFFERS = """
select exists (
    select {columns} from {rows} where {bucket} = {oldest}::{type}
    except
    select {columns} from {direct} where {bucket} >= {oldest}::{type} and {bucket} <= {oldest}::{type})
"""


def decide_refills(
    session: Session,
    catalog: TimescaleCatalog,
    longest_comparison_seconds: float = LONGEST_COMPARISON_SECONDS,
) -> tuple[Refill, ...]:
    """Decide how the rows of each continuous aggregate of the source come to the target.

    Args:
        session: On the source, in autocommit mode with no transaction open; nothing is changed.
        catalog: The source's.
        longest_comparison_seconds: Then an oldest bucket is not computed to its end, and copied.

    Returns:
        In the order of the aggregates.

    Raises:
        EngineError: The source could not be read.
    """
    materializations = {view.name: view.materialization for view in catalog.aggregates}
    dropping = {job.relation for job in catalog.jobs if job.kind is JobKind.RETENTION}
    refills = []
    for view in catalog.aggregates:
        try:
            reason = _why_not_recompute(
                session,
                view,
                materializations.get(view.reads, view.reads),
                view.reads in dropping,
                longest_comparison_seconds,
            )
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, f"reading {view.name}") from None
        if reason is None:
            refills.append(Refill(view.name, RefillWay.RECOMPUTE, "all it holds is in the rows there are"))
        else:
            way = RefillWay.COPY if view.is_finalized else RefillWay.LOSE
            refills.append(Refill(view.name, way, reason))
    return tuple(refills)


def _why_not_recompute(
    session: Session,
    view: ContinuousAggregate,
    read_from: TableName,
    is_dropped_from: bool,
    longest_comparison_seconds: float,
) -> str | None:
    bucket = sql.Identifier(view.bucket_column)
    rows = sql.Identifier(view.materialization.schema, view.materialization.table)
    found = session.execute(sql.SQL(_OLDEST).format(bucket=bucket, rows=rows)).fetchone()
    assert found is not None  # An aggregate without GROUP BY.
    oldest, type_name = found
    if oldest is None:
        return None
    if is_dropped_from:
        return f"a retention policy drops old rows of {view.reads}"
    parts = {"bucket": bucket, "rows": rows, "type": sql.SQL(str(type_name))}
    holes = session.execute(
        sql.SQL(_HOLES).format(**parts), {"schema": read_from.schema, "table": read_from.table}
    ).fetchone()
    if holes == (True,):
        return f"it has rows of a time of which {view.reads} has no chunk"
    if not view.is_finalized:
        # Its rows are no results, so there is nothing to compare.
        return None
    direct = session.execute(_DIRECT_VIEW, [view.name.schema, view.name.table]).fetchone()
    assert direct is not None  # It is in the same catalog table as the aggregate itself.
    comparison = sql.SQL(_DIFFERS).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, view.columns)),
        direct=sql.Identifier(*map(str, direct)),
        oldest=sql.Literal(oldest),
        **parts,
    )
    try:
        with session.transaction():
            session.execute(
                "select pg_catalog.set_config('statement_timeout', %s, true)",
                [f"{longest_comparison_seconds:.0f}s"],
            )
            differs = session.execute(comparison).fetchone() == (True,)
    except psycopg.errors.QueryCanceled:
        return f"its oldest bucket could not be computed within {longest_comparison_seconds:.0f} s"
    except psycopg.Error as error:
        if is_connection_loss(error):
            raise
        return f"its oldest bucket cannot be compared: {message_of(error)}"
    if differs:
        return f"its oldest bucket, {oldest}, is not what the rows of {view.reads} give any more"
    return None
