"""Which tables the publications publish, with which columns and rows.

A leaf whose root is published with ``publish_via_partition_root`` arrives under the root's name, so it is
left out here. Several publications may list one table: their row filters are joined by OR, as the source
does (PostgreSQL 29.4.6), and a publication without one lifts them all. Their columns must be the same: the
source refuses to send such a table otherwise (PostgreSQL 29.5), and a copy would have to guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from engine.catalog.table import TableName, quote_identifier
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side
from engine.timescaledb.published import HypertablePart, read_parts

# PostgreSQL 15 brought column lists and row filters, 18 published generated columns: before that the
# function returns only oids, and generated columns never travel.
_TABLES_BEFORE_15 = """
with published as (
    select p.pubname, p.pubviaroot, g.relid, null::text as row_filter, null::int2[] as attnums
      from pg_catalog.pg_publication p,
           lateral pg_catalog.pg_get_publication_tables(p.pubname::text) as g(relid)
     where p.pubname = any(%(publications)s)
)
"""

_TABLES_SINCE_15 = """
with published as (
    select p.pubname, p.pubviaroot, g.relid, pg_catalog.pg_get_expr(g.qual, g.relid) as row_filter,
           g.attrs::int2[] as attnums
      from pg_catalog.pg_publication p,
           lateral pg_catalog.pg_get_publication_tables(p.pubname::text) as g
     where p.pubname = any(%(publications)s)
)
"""

_TABLES = """
, visible as (
    select *
      from published leaf
     where (%(only_oid)s::oid is null or leaf.relid = %(only_oid)s::oid)
       and not exists (
           select
             from published root
             join pg_catalog.pg_partition_ancestors(leaf.relid::regclass) as ancestor(relid) using (relid)
            where root.pubviaroot and root.relid <> leaf.relid)
)
, with_columns as (
    select visible.*,
           given.columns, given.types
      from visible
     cross join lateral (
           select pg_catalog.array_agg(a.attname::text order by a.attnum) as columns,
                  pg_catalog.array_agg(case when t.typtype = 'e' then 'pg_catalog.anyenum'::regtype::oid
                                            else t.oid end
                                       order by a.attnum) as types
             from pg_catalog.pg_attribute a
             join pg_catalog.pg_type t on t.oid = a.atttypid
            where a.attrelid = visible.relid and a.attnum > 0 and not a.attisdropped
              and (attnums is null or a.attnum = any (attnums))
              and (a.attgenerated = ''
                   or (a.attgenerated = 's' and attnums is not null
                       and pg_catalog.current_setting('server_version_num')::int >= 180000))) given
)
, compared as (
    select with_columns.*,
           pg_catalog.first_value(columns) over (partition by relid order by pubname) as first_columns
      from with_columns
)
, merged as (
    select relid,
           pg_catalog.array_agg(pubname::text order by pubname) as publications,
           case when pg_catalog.bool_or(row_filter is null) then null
                else pg_catalog.string_agg('(' || row_filter || ')', ' or ' order by pubname)
           end as row_filter,
           (pg_catalog.array_agg(columns::text order by pubname))[1]::text[] as columns,
           (pg_catalog.array_agg(types::text order by pubname))[1]::oid[] as types,
           pg_catalog.array_agg(pubname::text order by pubname)
               filter (where columns is distinct from first_columns) as disagreeing
      from compared
     group by relid
)
select m.relid, n.nspname, c.relname, c.relkind, m.publications, m.row_filter, m.columns, m.types,
       m.disagreeing, size.approximate_rows, size.size_bytes,
       (select pg_catalog.to_regclass('_timescaledb_catalog.hypertable') is not null)
  from merged m
  join pg_catalog.pg_class c on c.oid = m.relid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 cross join lateral (
       select pg_catalog.sum(greatest(part.reltuples, 0))::int8 as approximate_rows,
              pg_catalog.sum(pg_catalog.pg_table_size(part.oid))::int8 as size_bytes
         from pg_catalog.pg_partition_tree(m.relid::regclass) tree
         join pg_catalog.pg_class part on part.oid = tree.relid and tree.isleaf
        union all
       select c.reltuples::int8, pg_catalog.pg_table_size(c.oid)
        where not c.relispartition and c.relkind <> 'p') size
 where size.approximate_rows is not null
 order by n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table as the publications give it out."""

    oid: int
    name: TableName
    is_partitioned: bool
    publications: tuple[str, ...]
    row_filter: str | None
    """SQL condition of the rows that are published, or None for all."""

    columns: tuple[str, ...]
    """Published columns in table order."""

    column_types: tuple[int, ...]
    """Oids of their types, that of ``anyenum`` for every enum."""

    approximate_rows: int
    size_bytes: int
    part: HypertablePart | None = None
    """What it is to a hypertable; None of any other table."""

    @property
    def is_chunk(self) -> bool:
        return self.part is not None and self.part.hypertable_oid != self.oid

    @property
    def mapped_name(self) -> TableName:
        """The name that says where its rows go: a chunk's go where its hypertable's do."""
        return self.name if self.part is None else self.part.hypertable


def list_published_tables(
    source: Session, publications: Sequence[str], *, only_oid: int | None = None
) -> tuple[PublishedTable, ...]:
    """Read what ``publications`` publish now, sorted by name.

    Args:
        source: A session on the source.
        publications: Their names.
        only_oid: Only this table, or nothing when it is not published.

    Raises:
        BlockedError: Two of the publications publish different columns of one table.
        EngineError: The source could not be read.
    """
    head = _TABLES_SINCE_15 if source.info.server_version >= 150000 else _TABLES_BEFORE_15
    statement = head.encode() + _TABLES.encode()
    values = {"publications": list(publications), "only_oid": only_oid}
    try:
        rows = source.execute(statement, values).fetchall()
        has_timescaledb = bool(rows) and rows[0][-1] is True
        parts = read_parts(source, [int(str(row[0])) for row in rows]) if has_timescaledb else {}
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the publications") from None
    tables = []
    for (
        oid,
        schema,
        table,
        kind,
        names,
        row_filter,
        columns,
        types,
        others,
        approximate_rows,
        size_bytes,
        _,
    ) in rows:
        assert isinstance(names, list)
        if isinstance(others, list):
            raise _different_columns(TableName(str(schema), str(table)), str(names[0]), str(others[0]))
        tables.append(
            PublishedTable(
                oid=int(str(oid)),
                name=TableName(str(schema), str(table)),
                is_partitioned=str(kind) == "p",
                publications=tuple(str(name) for name in names),
                row_filter=None if row_filter is None else str(row_filter),
                columns=tuple(str(column) for column in columns) if isinstance(columns, list) else (),
                column_types=tuple(int(str(oid)) for oid in types) if isinstance(types, list) else (),
                approximate_rows=max(0, int(str(approximate_rows))),
                size_bytes=int(str(size_bytes)),
                part=parts.get(int(str(oid))),
            )
        )
    return tuple(tables)


def _different_columns(table: TableName, one: str, other: str) -> BlockedError:
    one, other = quote_identifier(one), quote_identifier(other)
    return BlockedError(
        Failure(
            title=f"The publications {one} and {other} publish different columns of the table {table}, "
            "which the source refuses to send",
            hint="Give it the same columns in both, or publish it in one of them only: "
            f"alter publication {other} drop table {table};",
            side=Side.SOURCE,
            retry=Retry.MANUAL,
        )
    )
