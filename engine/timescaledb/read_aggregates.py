"""Reads continuous aggregates with all that ``CREATE MATERIALIZED VIEW`` does not say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.connection.session import Session
from engine.timescaledb.aggregate import AggregateIndex, ContinuousAggregate
from engine.timescaledb.hypertable import Columnstore, Extent
from engine.timescaledb.read_hypertables import telling_integers

_AGGREGATES = """
with recursive aggregate as (
    select a.mat_hypertable_id, a.raw_hypertable_id, 0 as level
      from _timescaledb_catalog.continuous_agg a
     where not exists (select from _timescaledb_catalog.continuous_agg parent
                        where parent.mat_hypertable_id = a.raw_hypertable_id)
    union all
    select a.mat_hypertable_id, a.raw_hypertable_id, parent.level + 1
      from _timescaledb_catalog.continuous_agg a
      join aggregate parent on parent.mat_hypertable_id = a.raw_hypertable_id
)
select a.user_view_schema::text as schema, a.user_view_name::text as view, v.oid::int8, level,
       mh.schema_name::text as mat_schema, mh.table_name::text as mat_table, m.oid::int8 as mat_oid,
       coalesce(parent.user_view_schema, raw.schema_name)::text as reads_schema,
       coalesce(parent.user_view_name, raw.table_name)::text as reads_table,
       pg_catalog.pg_get_viewdef(direct.oid) as query,
       array (select c.attname::text from pg_catalog.pg_attribute c
               where c.attrelid = v.oid and c.attnum > 0 and not c.attisdropped order by c.attnum) as columns,
       d.column_name::text as bucket_column, d.interval_length as length, {is_integer} as is_integer,
       not a.materialized_only as is_real_time,
       -- Of 2.7 to 2.24.
       coalesce((pg_catalog.to_jsonb(a) ->> 'finalized')::bool, true) as is_finalized,
       (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'name', i.relname, 'is_unique', x.indisunique, 'quoted', pg_catalog.quote_ident(i.relname),
                   'definition', pg_catalog.pg_get_indexdef(i.oid)) order by i.oid), '[]')
          from pg_catalog.pg_index x
          join pg_catalog.pg_class i on i.oid = x.indexrelid
         where x.indrelid = m.oid) as indexes,
       pg_catalog.format('%I.%I', mh.schema_name, mh.table_name) as mat_quoted,
       pg_catalog.obj_description(v.oid, 'pg_class') as comment,
       (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(c.attname, s.description)
                                             order by c.attnum), '[]')
          from pg_catalog.pg_description s
          join pg_catalog.pg_attribute c on c.attrelid = s.objoid and c.attnum = s.objsubid
         where s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and s.objoid = v.oid
           and s.objsubid > 0) as column_comments,
       pg_catalog.pg_get_userbyid(v.relowner)::text as owner
  from aggregate
  join _timescaledb_catalog.continuous_agg a using (mat_hypertable_id)
  join _timescaledb_catalog.hypertable mh on mh.id = a.mat_hypertable_id
  join _timescaledb_catalog.dimension d on d.hypertable_id = mh.id
  join _timescaledb_catalog.hypertable raw on raw.id = a.raw_hypertable_id
  left join _timescaledb_catalog.continuous_agg parent on parent.mat_hypertable_id = a.raw_hypertable_id
  join pg_catalog.pg_class v
    on v.oid = pg_catalog.format('%I.%I', a.user_view_schema, a.user_view_name)::pg_catalog.regclass
  join pg_catalog.pg_class direct
    on direct.oid = pg_catalog.format('%I.%I', a.direct_view_schema, a.direct_view_name)::pg_catalog.regclass
  join pg_catalog.pg_class m
    on m.oid = pg_catalog.format('%I.%I', mh.schema_name, mh.table_name)::pg_catalog.regclass
 order by level, 1, 2
"""


class _IndexJson(TypedDict):
    name: str
    is_unique: bool
    quoted: str
    definition: str


@dataclass(frozen=True, slots=True)
class _AggregateRow:
    schema: str
    view: str
    oid: int
    level: int
    mat_schema: str
    mat_table: str
    mat_oid: int
    reads_schema: str
    reads_table: str
    query: str
    columns: list[str]
    bucket_column: str
    length: int
    is_integer: bool
    is_real_time: bool
    is_finalized: bool
    indexes: list[_IndexJson]
    mat_quoted: str
    comment: str | None
    column_comments: list[tuple[str, str]]
    owner: str


def read_aggregates(
    session: Session, columnstores: Mapping[TableName, Columnstore]
) -> tuple[ContinuousAggregate, ...]:
    """All continuous aggregates, each after what it reads, then by name.

    Args:
        session: On a database with the extension; its empty search_path makes every name in a query whole.
        columnstores: By the name of the hypertable.

    Raises:
        psycopg.Error: They could not be read.
    """
    with session.cursor(row_factory=class_row(_AggregateRow)) as cursor:
        rows = cursor.execute(telling_integers(_AGGREGATES).encode()).fetchall()
    return tuple(_aggregate(row, columnstores) for row in rows)


def _aggregate(row: _AggregateRow, columnstores: Mapping[TableName, Columnstore]) -> ContinuousAggregate:
    materialization = TableName(row.mat_schema, row.mat_table)
    return ContinuousAggregate(
        name=TableName(row.schema, row.view),
        oid=row.oid,
        materialization=materialization,
        materialization_oid=row.mat_oid,
        reads=TableName(row.reads_schema, row.reads_table),
        level=row.level,
        query=row.query.strip().removesuffix(";"),
        columns=tuple(row.columns),
        bucket_column=row.bucket_column,
        extent=Extent(row.length, row.is_integer),
        is_real_time=row.is_real_time,
        is_finalized=row.is_finalized,
        indexes=tuple(_index(index, row) for index in row.indexes),
        columnstore=columnstores.get(materialization),
        comment=row.comment,
        column_comments=tuple((column, comment) for column, comment in row.column_comments),
        owner=row.owner,
    )


def _index(found: _IndexJson, row: _AggregateRow) -> AggregateIndex:
    unique = "UNIQUE " if found["is_unique"] else ""
    head = f"CREATE {unique}INDEX {found['quoted']} ON {row.mat_quoted} "
    definition = found["definition"]
    assert definition.startswith(head), definition
    is_servers_choice = found["name"].startswith(f"{row.mat_table}_")
    return AggregateIndex(
        None if is_servers_choice else found["name"], found["is_unique"], definition.removeprefix(head)
    )
