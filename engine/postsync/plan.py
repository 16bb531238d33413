"""Reads what is left to do: validations, statistics, materialized views, TimescaleDB's part, in this order.

A restored table has no statistics, a restored materialized view no rows, and a constraint that was added
NOT VALID is not trusted by the planner. What the source itself does not have (a constraint that is not valid
there, a view that was never populated) is not wanted here either. Nothing of this is replicated.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from engine.catalog.table import TableName, quote_identifier
from engine.catalog.user_schema import in_user_schemas
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.postsync.checklist import Checklist, ChecklistItem, Progress, Task
from engine.postsync.timescaledb import plan_timescale_items

_ANALYZE_ONLY_SINCE = 180000

_NOT_NULL = "n"

_TABLES = in_user_schemas("""
select n.nspname::text, c.relname::text, c.oid::int8, c.relkind = 'm' as is_view,
       (select coalesce(pg_catalog.sum(pg_catalog.pg_table_size(part.relid)),
                        pg_catalog.pg_table_size(c.oid))
          from pg_catalog.pg_partition_tree(case when c.relkind = 'p' then c.oid end) part)::int8,
       (select pg_catalog.bool_and(
                   coalesce(pg_catalog.pg_stat_get_last_analyze_time(part.oid),
                            pg_catalog.pg_stat_get_last_autoanalyze_time(part.oid)) is not null
                   and pg_catalog.pg_stat_get_mod_since_analyze(part.oid) = 0)
          -- Changes are counted where the rows are.
          from (select c.oid
                union
                select tree.relid
                  from pg_catalog.pg_partition_tree(case when c.relkind = 'p' then c.oid end) tree) part)
       as is_fresh
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't'
   and (not c.relispartition or %(partitions)s)
   and {user_schema}
 order by 5 desc, 1, 2
""")

_CONSTRAINTS = in_user_schemas("""
select n.nspname::text, c.relname::text, k.conname::text, k.contype::text, c.oid::int8, k.convalidated,
       pg_catalog.pg_table_size(c.oid)
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 -- NOT NULL constraints are rows here since PostgreSQL 18 and can be NOT VALID there.
 where k.contype in ('f', 'c', 'n')
   -- What belongs to one above is validated with it.
   and k.coninhcount = 0 and k.conparentid = 0
   and {user_schema}
 order by 7 desc, 1, 2, 3
""")

_VIEWS = in_user_schemas("""
with recursive uses (view, used) as (
    select r.ev_class, d.refobjid
      from pg_catalog.pg_rewrite r
      join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
       and d.objid = r.oid and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     where d.refobjid <> r.ev_class
    union
    -- Through ordinary views too.
    select uses.view, d.refobjid
      from uses
      join pg_catalog.pg_rewrite r on r.ev_class = uses.used
      join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
       and d.objid = r.oid and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     where d.refobjid <> r.ev_class
)
select n.nspname::text, c.relname::text, c.oid::int8, c.relispopulated,
       array(select uses.used::int8
               from uses join pg_catalog.pg_class m on m.oid = uses.used and m.relkind = 'm'
              where uses.view = c.oid) as used,
       (select coalesce(pg_catalog.sum(pg_catalog.pg_table_size(t.oid)), 0)::int8
          from uses join pg_catalog.pg_class t on t.oid = uses.used and t.relkind in ('r', 'm')
         where uses.view = c.oid) as size_bytes
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'm' and {user_schema}
 order by pg_catalog.cardinality(array(select uses.used from uses
                                         join pg_catalog.pg_class m on m.oid = uses.used and m.relkind = 'm'
                                        where uses.view = c.oid)), 1, 2
""")
"""Whoever uses another uses all that the other uses and the other itself, so more views than it."""


def plan_checklist(source: Session, target: Session) -> Checklist:
    """What is to be done, and what was done already; changes nothing.

    Args:
        source, target: Sessions there, in autocommit mode with no transaction open.

    Raises:
        EngineError: A server could not be read.
    """
    try:
        wanted_constraints = {
            (schema, table, name, kind)
            for schema, table, name, kind, _, is_valid, _ in source.execute(_CONSTRAINTS.encode()).fetchall()
            if is_valid
        }
        wanted_views = {
            (schema, name)
            for schema, name, _, is_populated, _, _ in source.execute(_VIEWS.encode()).fetchall()
            if is_populated
        }
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading constraints and materialized views") from None
    only = target.info.server_version >= _ANALYZE_ONLY_SINCE
    try:
        # Before 18 the statistics of a partitioned table come with those of its partitions, or not at all.
        tables = target.execute(_TABLES.encode(), {"partitions": only}).fetchall()
        constraints = target.execute(_CONSTRAINTS.encode()).fetchall()
        views = target.execute(_VIEWS.encode()).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading what is left to do") from None

    items = _Items(target)
    for schema, table, name, kind, oid, is_valid, size_bytes in constraints:
        if kind == _NOT_NULL and is_valid:
            continue  # Nearly every column has one; that they hold is nothing to tell.
        if is_valid or (schema, table, name, kind) in wanted_constraints:
            items.add(
                Task.VALIDATE,
                "alter table {table} validate constraint {constraint}",
                (schema, table),
                oid,
                size_bytes,
                is_there=bool(is_valid),
                constraint=str(name),
            )
    for schema, table, oid, is_view, size_bytes, is_fresh in tables:
        if not is_view:
            items.add(Task.ANALYZE, _analyze(only), (schema, table), oid, size_bytes, is_there=bool(is_fresh))
    refreshes: dict[int, int] = {}
    for schema, name, oid, is_populated, used, size_bytes in views:
        if is_populated or (schema, name) in wanted_views:
            assert isinstance(used, list)
            refreshes[int(str(oid))] = items.add(
                Task.REFRESH,
                "refresh materialized view {table}",
                (schema, name),
                oid,
                size_bytes,
                is_there=bool(is_populated),
                requires=[refreshes[view] for view in used if view in refreshes],
            )
    for schema, table, oid, is_view, size_bytes, is_fresh in tables:
        refresh = refreshes.get(int(str(oid)))
        if is_view and refresh is not None:
            is_refreshed = items.made[refresh].is_settled
            items.add(
                Task.ANALYZE,
                _analyze(only),
                (schema, table),
                oid,
                size_bytes,
                is_there=is_refreshed and bool(is_fresh),
                requires=[refresh],
            )
    return Checklist((*items.made, *plan_timescale_items(source, target, len(items.made))))


def _analyze(only: bool) -> str:
    return "analyze only {table}" if only else "analyze {table}"


class _Items:
    """Numbers items as they are made."""

    def __init__(self, target: Session) -> None:
        self._target = target
        self.made: list[ChecklistItem] = []

    def add(
        self,
        task: Task,
        statement: str,
        table: tuple[object, object],
        relation_oid: object,
        size_bytes: object,
        *,
        is_there: bool,
        requires: Iterable[int] = (),
        constraint: str | None = None,
    ) -> int:
        table_name = TableName(*map(str, table))
        name = str(table_name)
        names = {"table": sql.Identifier(table_name.schema, table_name.table)}
        if constraint is not None:
            names["constraint"] = sql.Identifier(constraint)
            name = f"{quote_identifier(constraint)} on {name}"
        self.made.append(
            ChecklistItem(
                number=len(self.made),
                task=task,
                name=name,
                statement=sql.SQL(statement).format(**names).as_string(self._target),
                relation_oid=int(str(relation_oid)),
                size_bytes=int(str(size_bytes)),
                requires=frozenset(requires),
                progress=Progress.ALREADY_THERE if is_there else Progress.WAITING,
            )
        )
        return len(self.made) - 1
