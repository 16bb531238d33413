"""Reads the publications of the source as they were made: what they name, not what that amounts to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.catalog.tables import TableTree
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_PUBLICATIONS = """
select p.oid::int8, p.pubname::text as name, pg_catalog.pg_get_userbyid(p.pubowner)::text as owner,
       pg_catalog.pg_has_role(p.pubowner, 'usage') as is_owner,
       p.puballtables as all_tables, p.pubviaroot as via_root,
       p.pubinsert as inserts, p.pubupdate as updates, p.pubdelete as deletes, p.pubtruncate as truncates
  from pg_catalog.pg_publication p
 where %(name)s::text is null or p.pubname = %(name)s::text
 order by p.pubname
"""

_MEMBERS_HEAD = """
select m.prpubid::int8 as publication, m.prrelid::int8 as oid, n.nspname::text as schema,
       c.relname::text as table, c.relkind = 'r' and c.relhassubclass as has_children,
"""

_NO_LISTS = "null::text[] as columns, null::text as row_filter, null::text[] as filter_columns"

# Since PostgreSQL 15. Which columns a filter reads is in no catalog apart from those of the column list, so
# it is taken from the stored expression, as pg_get_expr() does.
_LISTS = r"""
       (select pg_catalog.array_agg(a.attname::text order by a.attnum)
          from pg_catalog.pg_attribute a
         where a.attrelid = m.prrelid and a.attnum = any (m.prattrs::int2[])) as columns,
       pg_catalog.pg_get_expr(m.prqual, m.prrelid) as row_filter,
       array (
           select a.attname::text
             from pg_catalog.regexp_matches(m.prqual::text, ':varattno (\d+)', 'g') as variable(attnum)
             join pg_catalog.pg_attribute a
               on a.attrelid = m.prrelid and a.attnum = variable.attnum[1]::int2
            group by a.attname, a.attnum
            order by a.attnum) as filter_columns
"""

_MEMBERS_TAIL = """
  from pg_catalog.pg_publication_rel m
  join pg_catalog.pg_class c on c.oid = m.prrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where m.prpubid = any (%(publications)s::oid[])
 order by n.nspname, c.relname
"""

# Since PostgreSQL 15. A partition that comes with its root is not counted by itself.
_SCHEMAS = """
select m.pnpubid::int8 as publication, n.nspname::text as name,
       coalesce((
           select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                      'oid', c.oid::int8,
                      'name', c.relname,
                      'ancestors', array (
                          select ancestor.relid::oid::int8
                            from pg_catalog.pg_partition_ancestors(c.oid) as ancestor(relid)
                           where ancestor.relid <> c.oid)) order by c.relname)
             from pg_catalog.pg_class c
            where c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relpersistence = 'p'
       ), '[]') as tables
  from pg_catalog.pg_publication_namespace m
  join pg_catalog.pg_namespace n on n.oid = m.pnnspid
 where m.pnpubid = any (%(publications)s::oid[])
 order by n.nspname
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A table that a publication names."""

    publication: int
    oid: int
    schema: str
    table: str
    has_children: bool
    """Whether tables inherit from it in the old way; a statement that names it means them too."""

    columns: list[str] | None
    """In table order; None for all."""

    row_filter: str | None
    filter_columns: list[str] | None
    """Columns that the filter reads."""

    @property
    def name(self) -> TableName:
        return TableName(self.schema, self.table)

    @property
    def is_limited(self) -> bool:
        """Whether it leaves out columns or rows."""
        return self.columns is not None or self.row_filter is not None


@dataclass(frozen=True, slots=True)
class SchemaTable:
    """A table of a schema that is published whole."""

    oid: int
    name: TableName
    ancestors: frozenset[int]
    """Oids of the partitioned tables above it."""


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """A schema that is published whole, with what is in it now."""

    name: str
    tables: tuple[SchemaTable, ...]

    def others(self, wanted: Collection[int]) -> tuple[TableName, ...]:
        """Tables of it that are not wanted, nor part of a wanted one."""
        chosen = frozenset(wanted)
        return tuple(
            table.name for table in self.tables if table.oid not in chosen and not table.ancestors & chosen
        )


@dataclass(frozen=True, slots=True)
class _PublicationRow:
    oid: int
    name: str
    owner: str
    is_owner: bool
    all_tables: bool
    via_root: bool
    inserts: bool
    updates: bool
    deletes: bool
    truncates: bool


@dataclass(frozen=True, slots=True)
class _SchemaRow:
    publication: int
    name: str
    tables: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication."""

    oid: int
    name: str
    owner: str
    is_owner: bool
    """Whether the session's role may alter it."""

    all_tables: bool
    via_root: bool
    lacking_kinds: tuple[str, ...]
    """Of insert, update, delete and truncate those that it does not publish."""

    members: tuple[Member, ...]
    schemas: tuple[PublishedSchema, ...]

    def lacks_via_root(self, trees: Iterable[TableTree]) -> bool:
        """Whether a partitioned one of ``trees`` would be published as its partitions."""
        return not self.via_root and any(tree.root.is_partitioned for tree in trees)


def read_publications(session: Session, name: str | None = None) -> tuple[Publication, ...]:
    """All publications of the source by name, or the one that is called ``name``.

    Raises:
        EngineError: The source could not be read.
    """
    has_lists = session.info.server_version >= 150000
    try:
        with session.cursor(row_factory=class_row(_PublicationRow)) as cursor:
            rows = cursor.execute(_PUBLICATIONS, {"name": name}).fetchall()
        parameters = {"publications": [row.oid for row in rows]}
        query = _MEMBERS_HEAD + (_LISTS if has_lists else _NO_LISTS) + _MEMBERS_TAIL
        with session.cursor(row_factory=class_row(Member)) as member_cursor:
            members = member_cursor.execute(query.encode(), parameters).fetchall()
        schemas: list[_SchemaRow] = []
        if has_lists:
            with session.cursor(row_factory=class_row(_SchemaRow)) as schema_cursor:
                schemas = schema_cursor.execute(_SCHEMAS, parameters).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the publications") from None
    return tuple(
        Publication(
            row.oid,
            row.name,
            row.owner,
            row.is_owner,
            row.all_tables,
            row.via_root,
            _lacking(row),
            tuple(member for member in members if member.publication == row.oid),
            tuple(_schema(schema) for schema in schemas if schema.publication == row.oid),
        )
        for row in rows
    )


def _lacking(row: _PublicationRow) -> tuple[str, ...]:
    published = {
        "insert": row.inserts,
        "update": row.updates,
        "delete": row.deletes,
        "truncate": row.truncates,
    }
    return tuple(kind for kind, is_published in published.items() if not is_published)


def _schema(row: _SchemaRow) -> PublishedSchema:
    tables = []
    for table in row.tables:
        ancestors = table["ancestors"]
        assert isinstance(ancestors, list)
        tables.append(
            SchemaTable(
                int(str(table["oid"])),
                TableName(row.name, str(table["name"])),
                frozenset(int(oid) for oid in ancestors),
            )
        )
    return PublishedSchema(row.name, tuple(tables))
