"""Reads hypertables with their dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.connection.session import Session
from engine.timescaledb.hypertable import Columnstore, Dimension, Extent, Hypertable, RoutineName

# A partitioning function's result is what is cut, not the column.
_IS_INTEGER = """(coalesce((select p.prorettype from pg_catalog.pg_proc p
                            join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace
                           where pn.nspname = d.partitioning_func_schema
                             and p.proname = d.partitioning_func
                           limit 1), d.column_type::oid)
                 in ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype))"""
_HYPERTABLES = """
select c.oid::int8, h.schema_name::text as schema, h.table_name::text as table,
       h.associated_schema_name::text as chunk_schema, h.associated_table_prefix::text as chunk_prefix,
       h.associated_table_prefix::text = '_hyper_' || h.id as has_own_prefix,
       coalesce((pg_catalog.to_jsonb(h) ->> 'replication_factor')::int4, 0) > 0 as is_distributed,
       (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'column', d.column_name,
                   'type', d.column_type,
                   'is_integer', {is_integer},
                   'length', d.interval_length,
                   'partitions', d.num_slices,
                   'partitioning', case when d.partitioning_func is not null then
                       pg_catalog.jsonb_build_array(d.partitioning_func_schema, d.partitioning_func) end,
                   'integer_now', case when d.integer_now_func is not null then
                       pg_catalog.jsonb_build_array(d.integer_now_func_schema, d.integer_now_func) end
                   ) order by d.id)
          from _timescaledb_catalog.dimension d
         where d.hypertable_id = h.id) as dimensions,
       {skipping} as skipping
  from _timescaledb_catalog.hypertable h
  join pg_catalog.pg_namespace n on n.nspname = h.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = h.table_name
 where not exists (select from _timescaledb_catalog.continuous_agg a where a.mat_hypertable_id = h.id)
   -- Up to 2.28 compressed rows have hypertables too, without dimensions.
   and exists (select from _timescaledb_catalog.dimension d where d.hypertable_id = h.id)
 order by 2, 3
"""

# Of a hypertable as such chunk_id is 0 or NULL, by release.
_SKIPPING = """array (select distinct s.column_name::text from _timescaledb_catalog.chunk_column_stats s
                where s.hypertable_id = h.id order by 1)"""

_HAS_SKIPPING = "select pg_catalog.to_regclass('_timescaledb_catalog.chunk_column_stats') is not null"

_OWN_SCHEMAS = ("_timescaledb_internal", "_timescaledb_functions")
_OWN_HASH = "get_partition_hash"


class DimensionJson(TypedDict):
    column: str
    type: str
    is_integer: bool
    length: int | None
    partitions: int | None
    partitioning: tuple[str, str] | None
    integer_now: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class _HypertableRow:
    oid: int
    schema: str
    table: str
    chunk_schema: str
    chunk_prefix: str
    has_own_prefix: bool
    is_distributed: bool
    dimensions: list[DimensionJson]
    skipping: list[str]


def telling_integers(query: str) -> str:
    """``query`` with a condition on ``dimension d`` in the place of ``{is_integer}``.

    It tells ranges that count something from those in microseconds.
    """
    return query.replace("{is_integer}", _IS_INTEGER)


def read_hypertables(
    session: Session, columnstores: Mapping[TableName, Columnstore]
) -> tuple[Hypertable, ...]:
    """All hypertables but those that hold continuous aggregates or compressed rows, by name.

    Args:
        session: On a database with the extension.
        columnstores: By the hypertable's name.

    Raises:
        psycopg.Error: They could not be read.
    """
    found = session.execute(_HAS_SKIPPING).fetchone()
    skipping = _SKIPPING if found == (True,) else "'{}'::text[]"
    query = telling_integers(_HYPERTABLES).replace("{skipping}", skipping)
    with session.cursor(row_factory=class_row(_HypertableRow)) as cursor:
        rows = cursor.execute(query.encode()).fetchall()
    return tuple(_hypertable(row, columnstores) for row in rows)


def _hypertable(row: _HypertableRow, columnstores: Mapping[TableName, Columnstore]) -> Hypertable:
    name = TableName(row.schema, row.table)
    return Hypertable(
        name=name,
        dimensions=tuple(map(_dimension, row.dimensions)),
        chunk_schema=row.chunk_schema,
        chunk_prefix=None if row.has_own_prefix else row.chunk_prefix,
        columnstore=columnstores.get(name),
        skipping=tuple(row.skipping),
        is_distributed=row.is_distributed,
        oid=row.oid,
    )


def _dimension(found: DimensionJson) -> Dimension:
    length = found["length"]
    return Dimension(
        column=found["column"],
        column_type=found["type"],
        extent=None if length is None else Extent(length, found["is_integer"]),
        partitions=found["partitions"],
        partitioning=_routine(found["partitioning"]),
        integer_now=_routine(found["integer_now"]),
    )


def _routine(found: tuple[str, str] | None) -> RoutineName | None:
    if found is None:
        return None
    schema, name = found
    if schema in _OWN_SCHEMAS:
        # Releases before 2.12 had their functions in another schema.
        return None if name == _OWN_HASH else RoutineName("_timescaledb_functions", name)
    return RoutineName(schema, name)
