"""Reads from the source's catalogs and statistics what :mod:`engine.catalog.hypertable` judges by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.hypertable import (
    DEFAULT_MEMORY_BYTES,
    ColumnFacts,
    ColumnSample,
    HypertableSuggestion,
    KeyFacts,
    TableFacts,
    TimeKind,
    suggest_hypertable,
)
from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_WANTED = """
with wanted as (
    select c.oid, c.relname, c.relkind, n.nspname
      from unnest(%(schemas)s::text[], %(tables)s::text[]) as named(schema_name, table_name)
      join pg_catalog.pg_namespace n on n.nspname = named.schema_name
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = named.table_name
     where c.relkind in ('r', 'p') and c.relpersistence <> 't'
)
, part as (
    select w.oid as root, w.oid from wanted w where w.relkind = 'r'
    union all
    select w.oid, tree.relid::oid
      from wanted w
     cross join lateral pg_catalog.pg_partition_tree(w.oid) tree
     where w.relkind = 'p' and tree.isleaf
)
"""

_TABLES = """
select w.oid::int8, w.nspname::text as schema, w.relname::text as table, w.relkind = 'p' as is_partitioned,
       total.approximate_rows, total.size_bytes, total.inserted_rows, total.changed_rows,
       exists (select from pg_catalog.pg_inherits i
                where w.relkind = 'r' and (i.inhparent = w.oid or i.inhrelid = w.oid)
                  and not exists (select from pg_catalog.pg_class child
                                   where child.oid = w.oid and child.relispartition)) as inherits,
       exists (select from pg_catalog.pg_rewrite r where r.ev_class = w.oid) as has_rules,
       array (
           select a.attname::text
             from pg_catalog.pg_partitioned_table t
            cross join lateral pg_catalog.unnest(t.partattrs::int2[]) as k(attnum)
             join pg_catalog.pg_attribute a on a.attrelid = t.partrelid and a.attnum = k.attnum
            where t.partrelid = w.oid and t.partstrat = 'r') as partition_columns,
       coalesce((
           select pg_catalog.jsonb_agg(distinct pg_catalog.jsonb_build_array(n.nspname, c.relname))
             from pg_catalog.pg_constraint k
             join pg_catalog.pg_class c
               on c.oid = coalesce(pg_catalog.pg_partition_root(k.conrelid)::oid, k.conrelid)
             join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where k.contype = 'f' and k.confrelid = w.oid), '[]') as referenced_by,
       coalesce((
           select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                      'name', x.relname,
                      'is_primary', i.indisprimary,
                      'is_exclusion', i.indisexclusion,
                      'has_expression', i.indexprs is not null,
                      'columns', array (
                          select a.attname::text
                            from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
                            join pg_catalog.pg_attribute a
                              on a.attrelid = i.indrelid and a.attnum = k.attnum
                           where k.position <= i.indnkeyatts
                           order by k.position)) order by not i.indisprimary, x.relname)
             from pg_catalog.pg_index i
             join pg_catalog.pg_class x on x.oid = i.indexrelid
            where i.indrelid = w.oid and (i.indisunique or i.indisexclusion)), '[]') as keys
  from wanted w
 cross join lateral (
       select coalesce(pg_catalog.sum(greatest(c.reltuples, 0)), 0)::int8 as approximate_rows,
              coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::int8 as size_bytes,
              coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(c.oid)), 0)::int8
                  as inserted_rows,
              coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_tuples_updated(c.oid)
                                      + pg_catalog.pg_stat_get_tuples_deleted(c.oid)), 0)::int8
                  as changed_rows
         from part p
         join pg_catalog.pg_class c on c.oid = p.oid
        where p.root = w.oid) total
 order by w.nspname, w.relname
"""

# Values of most_common_vals weigh what most_common_freqs says; between two histogram_bounds lie equal shares
# of what remains. Moments without end, which stand for "ever", say nothing about when rows came.
_COLUMNS = """
, of_time as (
    select p.root, p.oid, a.attname, a.attnotnull,
           a.attgenerated <> '' or a.attidentity <> '' as is_generated,
           a.atttypid::regtype as type, greatest(c.reltuples, 0) as rows, c.relname, n.nspname
      from part p
      join pg_catalog.pg_class c on c.oid = p.oid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = p.oid and a.attnum > 0 and not a.attisdropped
     where a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype,
                          'int8'::regtype, 'int4'::regtype)
)
, with_statistics as (
    select t.*, s.null_frac, s.correlation, s.most_common_freqs::float8[] as frequencies,
           s.most_common_vals::text as common, s.histogram_bounds::text as bounds,
           s.attname is not null as has_statistics
      from of_time t
      left join pg_catalog.pg_stats s
        on s.schemaname = t.nspname and s.tablename = t.relname and s.attname = t.attname
       and not s.inherited
)
select t.root::int8, t.attname::text as name, t.type::text as type, t.attnotnull as is_not_null,
       t.is_generated, t.rows::float8, t.has_statistics, coalesce(t.null_frac, 0)::float8 as null_fraction,
       t.correlation::float8, coalesce(t.frequencies, '{}') as frequencies,
       case t.type
           when 'timestamptz'::regtype then array (
               select pg_catalog.date_part('epoch', m) from unnest(t.common::timestamptz[]) as m)
           when 'timestamp'::regtype then array (
               select pg_catalog.date_part('epoch', m) from unnest(t.common::timestamp[]) as m)
           when 'date'::regtype then array (
               select pg_catalog.date_part('epoch', m) from unnest(t.common::date[]) as m)
           else coalesce(t.common::int8[]::float8[], '{}') end as common,
       case t.type
           when 'timestamptz'::regtype then array (
               select pg_catalog.date_part('epoch', m) from unnest(t.bounds::timestamptz[]) as m)
           when 'timestamp'::regtype then array (
               select pg_catalog.date_part('epoch', m) from unnest(t.bounds::timestamp[]) as m)
           when 'date'::regtype then array (
               select pg_catalog.date_part('epoch', m) from unnest(t.bounds::date[]) as m)
           else coalesce(t.bounds::int8[]::float8[], '{}') end as bounds
  from with_statistics t
 order by t.root, t.attname, t.nspname, t.relname
"""

_KINDS = {
    "timestamp with time zone": TimeKind.TIMESTAMPTZ,
    "timestamp without time zone": TimeKind.TIMESTAMP,
    "date": TimeKind.DATE,
}


class _KeyRow(TypedDict):
    name: str
    is_primary: bool
    is_exclusion: bool
    has_expression: bool
    columns: list[str]


@dataclass(frozen=True, slots=True)
class _TableRow:
    oid: int
    schema: str
    table: str
    is_partitioned: bool
    approximate_rows: int
    size_bytes: int
    inserted_rows: int
    changed_rows: int
    inherits: bool
    has_rules: bool
    partition_columns: list[str]
    referenced_by: list[list[str]]
    keys: list[_KeyRow]


@dataclass(frozen=True, slots=True)
class _ColumnRow:
    """A column of a table, or of one partition."""

    root: int
    name: str
    type: str
    is_not_null: bool
    is_generated: bool
    rows: float
    has_statistics: bool
    null_fraction: float
    correlation: float | None
    frequencies: list[float]
    common: list[float]
    bounds: list[float]

    def sample(self) -> ColumnSample:
        points = list(zip(self.common, self.frequencies, strict=True))
        remaining = max(0.0, 1.0 - self.null_fraction - sum(self.frequencies))
        points += [(bound, remaining / (len(self.bounds) - 1)) for bound in self.bounds[1:]]
        finite = tuple((value, share) for value, share in points if abs(value) != float("inf"))
        return ColumnSample(self.rows, self.null_fraction, self.correlation, finite)


def suggest_hypertables(
    session: Session, tables: Collection[TableName], memory_bytes: int = DEFAULT_MEMORY_BYTES
) -> tuple[HypertableSuggestion, ...]:
    """Judge every one of ``tables`` that has a time column, those that are worth it first.

    Args:
        session: On the source.
        tables: A partitioned table stands for all its partitions; what does not exist is left out.
        memory_bytes: Of the target's server.

    Raises:
        EngineError: The source could not be read.
    """
    suggestions = [suggest_hypertable(facts, memory_bytes) for facts in read_table_facts(session, tables)]
    found = [suggestion for suggestion in suggestions if suggestion is not None]
    return tuple(sorted(found, key=lambda suggestion: (not suggestion.is_worth_it, suggestion.table)))


def read_table_facts(session: Session, tables: Collection[TableName]) -> tuple[TableFacts, ...]:
    """What is known of ``tables``, by name.

    Raises:
        EngineError: The source could not be read.
    """
    parameters = {"schemas": [name.schema for name in tables], "tables": [name.table for name in tables]}
    try:
        with session.cursor(row_factory=class_row(_TableRow)) as cursor:
            rows = cursor.execute(f"{_WANTED}{_TABLES}".encode(), parameters).fetchall()
        with session.cursor(row_factory=class_row(_ColumnRow)) as column_cursor:
            columns = column_cursor.execute(f"{_WANTED}{_COLUMNS}".encode(), parameters).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading statistics of the tables") from None
    by_table: defaultdict[int, defaultdict[str, list[_ColumnRow]]] = defaultdict(lambda: defaultdict(list))
    for column in columns:
        by_table[column.root][column.name].append(column)
    return tuple(
        TableFacts(
            name=TableName(row.schema, row.table),
            approximate_rows=row.approximate_rows,
            size_bytes=row.size_bytes,
            inserted_rows=row.inserted_rows,
            changed_rows=row.changed_rows,
            is_partitioned=row.is_partitioned,
            partition_columns=tuple(row.partition_columns),
            inherits=row.inherits,
            has_rules=row.has_rules,
            referenced_by=tuple(sorted(TableName(schema, table) for schema, table in row.referenced_by)),
            keys=tuple(
                KeyFacts(
                    key["name"],
                    key["is_primary"],
                    key["is_exclusion"],
                    tuple(key["columns"]),
                    key["has_expression"],
                )
                for key in row.keys
            ),
            columns=tuple(_column(name, parts) for name, parts in by_table[row.oid].items()),
        )
        for row in rows
    )


def _column(name: str, parts: Sequence[_ColumnRow]) -> ColumnFacts:
    first = parts[0]
    return ColumnFacts(
        name,
        _KINDS.get(first.type, TimeKind.INTEGER),
        all(part.is_not_null for part in parts),
        first.is_generated,
        tuple(part.sample() for part in parts if part.has_statistics),
    )


def hypertable_statement(
    session: Session, target: TableName, column: str, interval: str | int, extension_schema: str = "public"
) -> str:
    """What makes an empty table of the target a hypertable, without semicolon.

    Args:
        session: Any; its encoding decides how text is quoted.
        target: The table's name on the target.
        column: That it is cut by.
        interval: How much of it goes into one chunk: as PostgreSQL reads an interval, or for an integer
            column in what that counts.
        extension_schema: Where TimescaleDB's functions are on the target.
    """
    relation = sql.Identifier(target.schema, target.table).as_string(session)
    kind = sql.SQL("bigint" if isinstance(interval, int) else "interval")
    statement = sql.SQL("select {}({}::regclass, {}({}, {}::{}), create_default_indexes => false)")
    return statement.format(
        _function(extension_schema, "create_hypertable"),
        sql.Literal(relation),
        _function(extension_schema, "by_range"),
        sql.Literal(column),
        sql.Literal(interval),
        kind,
    ).as_string(session)


def _function(schema: str, name: str) -> sql.Composable:
    # Quoted only where it has to be: a person reads the statement.
    return sql.SQL("public.{}").format(sql.SQL(name)) if schema == "public" else sql.Identifier(schema, name)
