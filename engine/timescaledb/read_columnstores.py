"""Reads the columnstore settings of hypertables and of what holds continuous aggregates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.connection.session import Session
from engine.timescaledb.hypertable import Columnstore, Extent, OrderColumn, SparseIndex
from engine.timescaledb.installation import LATE_DEFAULTS_SINCE, Installation
from engine.timescaledb.read_hypertables import telling_integers

_ENABLED = """
with enabled as (
    select t.hypertable_schema as schema, t.hypertable_name as name
      from timescaledb_information.hypertables t
     where t.compression_enabled
    union all
    select a.materialization_hypertable_schema, a.materialization_hypertable_name
      from timescaledb_information.continuous_aggregates a
     where a.compression_enabled
)
select e.schema::text, e.name::text as table, {settings},
       (select pg_catalog.jsonb_build_object('length', d.compress_interval_length, 'is_integer', {is_integer})
          from _timescaledb_catalog.hypertable h
          join _timescaledb_catalog.dimension d on d.hypertable_id = h.id
         where h.schema_name = e.schema and h.table_name = e.name
           and d.compress_interval_length is not null) as merged
  from enabled e {source}
"""

# Since 2.14. It tells settings that were chosen to be empty from those nobody made.
_TABLE = "pg_catalog.to_jsonb(s) - 'relid' - 'compress_relid' as settings"
_FROM_TABLE = """
  left join _timescaledb_catalog.compression_settings s
    on s.relid = pg_catalog.format('%I.%I', e.schema, e.name)::pg_catalog.regclass"""

_VIEW = """
       pg_catalog.jsonb_build_object(
           'segmentby', pg_catalog.array_agg(s.attname order by s.segmentby_column_index)
               filter (where s.segmentby_column_index is not null),
           'orderby', pg_catalog.array_agg(s.attname order by s.orderby_column_index)
               filter (where s.orderby_column_index is not null),
           'orderby_desc', pg_catalog.array_agg(not s.orderby_asc order by s.orderby_column_index)
               filter (where s.orderby_column_index is not null),
           'orderby_nullsfirst', pg_catalog.array_agg(s.orderby_nullsfirst order by s.orderby_column_index)
               filter (where s.orderby_column_index is not null)) as settings"""
_FROM_VIEW = """
  left join timescaledb_information.compression_settings s
    on s.hypertable_schema = e.schema and s.hypertable_name = e.name
 group by 1, 2, e.schema, e.name"""

_HAS_TABLE = "select pg_catalog.to_regclass('_timescaledb_catalog.compression_settings') is not null"

_ASKED_FOR = "config"
"""Where a sparse index comes from that somebody asked for."""


class _IndexJson(TypedDict):
    type: str
    column: str | list[str]
    source: str


class _SettingsJson(TypedDict, total=False):
    segmentby: list[str] | None
    orderby: list[str] | None
    orderby_desc: list[bool] | None
    orderby_nullsfirst: list[bool] | None
    index: list[_IndexJson] | None


class _MergedJson(TypedDict):
    length: int
    is_integer: bool


@dataclass(frozen=True, slots=True)
class _EnabledRow:
    schema: str
    table: str
    settings: _SettingsJson | None
    merged: _MergedJson | None


def read_columnstores(session: Session, installation: Installation) -> dict[TableName, Columnstore]:
    """Settings of all hypertables that have a columnstore, by the hypertable's name.

    Args:
        session: On a database with the extension.
        installation: What it is.

    Raises:
        psycopg.Error: They could not be read.
    """
    has_table = session.execute(_HAS_TABLE).fetchone() == (True,)
    query = telling_integers(_ENABLED).replace("{settings}", _TABLE if has_table else _VIEW)
    query = query.replace("{source}", _FROM_TABLE if has_table else _FROM_VIEW)
    with session.cursor(row_factory=class_row(_EnabledRow)) as cursor:
        rows = cursor.execute(query.encode()).fetchall()
    has_late_defaults = installation.version >= LATE_DEFAULTS_SINCE
    return {TableName(row.schema, row.table): _columnstore(row, has_late_defaults) for row in rows}


def _columnstore(row: _EnabledRow, has_late_defaults: bool) -> Columnstore:
    settings: _SettingsJson = row.settings or {}
    segment_by = settings.get("segmentby")
    names = settings.get("orderby")
    if segment_by is None and (names or not has_late_defaults):
        # Nothing is chosen where the order was.
        segment_by = []
    order_by = None
    if names:
        order_by = tuple(
            OrderColumn(name, is_descending, nulls_first)
            for name, is_descending, nulls_first in zip(
                names,
                settings.get("orderby_desc") or [],
                settings.get("orderby_nullsfirst") or [],
                strict=True,
            )
        )
    return Columnstore(
        segment_by=None if segment_by is None else tuple(segment_by),
        order_by=order_by,
        merged=None if row.merged is None else Extent(row.merged["length"], row.merged["is_integer"]),
        indexes=tuple(
            SparseIndex(index["type"], _columns(index["column"]))
            for index in settings.get("index") or []
            if index["source"] == _ASKED_FOR
        ),
    )


def _columns(found: str | list[str]) -> tuple[str, ...]:
    return (found,) if isinstance(found, str) else tuple(found)
