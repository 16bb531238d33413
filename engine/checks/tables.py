"""The source's tables, read in one go, and what of them would not arrive or would get in the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.catalog.user_schema import in_user_schemas
from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.connection.explain import explain
from engine.errors import Side
from engine.providers.fix import Fix
from engine.providers.load import matches_any

_SHOWN_NAMES = 3

_TABLES = """
select n.nspname::text as schema_name, c.relname::text as table_name,
       pg_catalog.format('%I.%I', n.nspname, c.relname) as quoted,
       pg_catalog.quote_ident(n.nspname) as quoted_schema,
       pg_catalog.quote_ident(o.rolname) as quoted_owner, o.rolsuper as owner_is_superuser,
       c.relispartition as is_partition,
       c.relpersistence = 'u' as is_unlogged,
       pg_catalog.pg_has_role(c.relowner, 'usage') as is_owner,
       pg_catalog.has_schema_privilege(n.oid, 'usage')
       and pg_catalog.has_table_privilege(c.oid, 'select') as is_readable,
       pg_catalog.row_security_active(c.oid) as hides_rows,
       c.relreplident = 'd' and exists (
           select from pg_catalog.pg_constraint k
            where k.conrelid = c.oid and k.contype = 'p' and k.condeferrable) as has_deferrable_key,
       exists (
           select from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> ''
              and (c.relreplident = 'f' or exists (
                   select from pg_catalog.pg_index i
                    where i.indrelid = c.oid and a.attnum = any (i.indkey::int2[])
                      and (i.indisreplident or c.relreplident = 'd' and i.indisprimary))))
           as has_generated_identity
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_roles o on o.oid = c.relowner
 where c.relkind in ('r', 'p') and c.relpersistence <> 't' and {user_schema}
   and not exists (
       select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
          and d.deptype = 'e')
 order by n.nspname, c.relname
"""

_RELATIONS = """
select pg_catalog.count(*)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relpersistence <> 't' and n.nspname !~ '^pg_(?!toast)' and n.nspname <> 'information_schema'
   and c.oid >= 16384
"""

# pg_dump's archives carry them as pg_largeobject_metadata and their pages.
_LARGE_OBJECTS = "select pg_catalog.count(*) from pg_catalog.pg_largeobject_metadata"


@dataclass(frozen=True, slots=True)
class SourceTableFacts:
    """What the checks want to know of one table of the source."""

    schema_name: str
    table_name: str
    quoted: str
    """Qualified name as SQL takes it."""

    quoted_schema: str
    quoted_owner: str
    owner_is_superuser: bool
    is_partition: bool
    is_unlogged: bool
    is_owner: bool
    """Whether the session's role owns it, may act as its owner, or is a superuser."""

    is_readable: bool
    hides_rows: bool
    """Whether row-level security applies to the session's role."""

    has_deferrable_key: bool
    """Whether its replica identity would be a deferrable primary key, which is none."""

    has_generated_identity: bool
    """Whether a generated column is part of its replica identity."""

    @property
    def name(self) -> TableName:
        """Unquoted."""
        return TableName(self.schema_name, self.table_name)


@dataclass(frozen=True, slots=True)
class SourceTables:
    """All of them, with two counts."""

    tables: tuple[SourceTableFacts, ...]
    relations: int
    """Tables with their indexes, sequences, views and TOAST tables."""

    large_objects: int


def read_source_tables(server: Server) -> SourceTables:
    """Read the tables that are somebody's own: none of the system, of extensions, of the provider.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        with server.session.cursor(row_factory=class_row(SourceTableFacts)) as cursor:
            rows = cursor.execute(in_user_schemas(_TABLES).encode()).fetchall()
        relations = server.session.execute(_RELATIONS).fetchone()
        large_objects = server.session.execute(_LARGE_OBJECTS).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the table list") from None
    assert relations is not None  # A count is one row.
    assert large_objects is not None
    theirs = server.detected.provider.leave_out.schemas
    return SourceTables(
        tuple(row for row in rows if not matches_any(row.schema_name, theirs)),
        int(str(relations[0])),
        int(str(large_objects[0])),
    )


def named(names: Iterable[object]) -> str:
    """The first names of a list, and how many more there are."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _SHOWN_NAMES} more" if len(listed) > _SHOWN_NAMES else ""
    return f"{', '.join(listed[:_SHOWN_NAMES])}{more}"


def counted(count: int, noun: str) -> str:
    """``1 table``, ``2 tables``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def check_tables(server: Server, tables: SourceTables) -> tuple[Finding, ...]:
    """What of the source's tables logical replication does not carry or cannot."""
    findings = [
        _large_objects(tables.large_objects),
        _unlogged([table for table in tables.tables if table.is_unlogged]),
        _deferrable_keys([table for table in tables.tables if table.has_deferrable_key]),
    ]
    if server.version_number >= 180000:
        findings.append(
            _generated_identity([table for table in tables.tables if table.has_generated_identity])
        )
    return tuple(findings)


def _large_objects(count: int) -> Finding:
    if not count:
        return ok("large_objects", Side.SOURCE, "none")
    return trouble(
        "large_objects",
        Side.SOURCE,
        Verdict.WARNING,
        counted(count, "large object"),
        "Logical replication does not carry large objects: neither those there are, nor new ones",
        remedy=by_hand(
            "Copy them while the source is read-only at the cutover, for example: pg_dump --large-objects "
            "--data-only --exclude-table='*' SOURCE | psql TARGET. Or move them into a bytea column first"
        ),
    )


def _unlogged(tables: Sequence[SourceTableFacts]) -> Finding:
    if not tables:
        return ok("unlogged_tables", Side.SOURCE, "none")
    return trouble(
        "unlogged_tables",
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(tables), 'unlogged table')}: {named(table.name for table in tables)}",
        "Changes of an unlogged table are not in the WAL, so it cannot be published",
        remedy=Fix(
            sql=tuple(f"alter table {table.quoted} set logged" for table in tables),
            applicable=all(table.is_owner for table in tables),
            words="It writes the whole table anew under a lock. Or leave out those whose rows can be lost",
        ),
    )


def _deferrable_keys(tables: Sequence[SourceTableFacts]) -> Finding:
    if not tables:
        return ok("deferrable_keys", Side.SOURCE, "none is a replica identity")
    return trouble(
        "deferrable_keys",
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(tables), 'table')} with a deferrable primary key: "
        f"{named(table.name for table in tables)}",
        "PostgreSQL does not take a deferrable key as replica identity: once such a table is published, the "
        "application's own UPDATE and DELETE fail on the source",
        remedy=Fix(
            sql=tuple(f"alter table {table.quoted} replica identity full" for table in tables),
            applicable=all(table.is_owner for table in tables),
            words="Or replica identity using index, where there is another unique index over NOT NULL "
            "columns that is not deferrable; the publication step proposes one",
        ),
    )


def _generated_identity(tables: Sequence[SourceTableFacts]) -> Finding:
    if not tables:
        return ok("generated_identity", Side.SOURCE, "none")
    return trouble(
        "generated_identity",
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(tables), 'table')} with a generated column in the replica identity: "
        f"{named(table.name for table in tables)}",
        "PostgreSQL 18 publishes no generated columns, and once such a table is published the application's "
        "own UPDATE and DELETE fail on the source",
        remedy=by_hand(
            "Give the table a primary key or unique index without generated columns, and: "
            "alter table … replica identity default; or … using index …"
        ),
    )
