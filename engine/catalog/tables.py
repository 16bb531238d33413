"""Looks tables up in the catalogs, and says which identity their updates need to be published.

An UPDATE of a partition is refused by the partition's own replica identity, but with
``publish_via_partition_root`` it is sent under the root's: a reader takes the root's key columns from the
old row, which holds only the partition's. So a tree is right only when every leaf gives at least what its
root promises.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypedDict

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import ReplicaIdentity, SourceTable, TableKind, TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_MISSING = """
select wanted.schema, wanted.name
  from unnest(%s::text[], %s::text[]) as wanted(schema, name)
 where not exists (
       select from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = wanted.schema and c.relname = wanted.name and c.relkind in ('r', 'p'))
"""

_ALL = """
with wanted as (
    select c.oid, c.relkind
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relpersistence <> 't' and not c.relispartition
       and n.nspname !~ '^(pg_|_timescaledb|timescaledb_)'
       and n.nspname not in ('information_schema', '_ts_live_sync')
       and not exists (
           select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
              and d.deptype = 'e')
)
"""

_NAMED = """
with wanted as (
    select c.oid, c.relkind
      from unnest(%(schemas)s::text[], %(tables)s::text[]) as named(schema_name, table_name)
      join pg_catalog.pg_namespace n on n.nspname = named.schema_name
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = named.table_name
     where c.relkind in ('r', 'p') and c.relpersistence <> 't'
)
"""

_RELATIONS = """
, part as (
    select w.oid as root_oid, w.oid from wanted w
    union
    select w.oid, tree.relid
      from wanted w
     cross join lateral pg_catalog.pg_partition_tree(w.oid) tree
     where w.relkind = 'p' and tree.isleaf
)
, unique_index as (
    select i.indrelid,
           pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'name', x.relname,
               'root_oid', coalesce(pg_catalog.pg_partition_root(x.oid)::oid, x.oid)::int8,
               'is_primary', i.indisprimary,
               'is_identity', i.indisreplident,
               'columns', key.columns) order by i.indnkeyatts, key.width_bytes, x.relname) as indexes
      from part p
      join pg_catalog.pg_index i on i.indrelid = p.oid
      join pg_catalog.pg_class x on x.oid = i.indexrelid
     cross join lateral (
           select pg_catalog.array_agg(a.attname::text) as columns,
                  -- A generated column is not published, so a key that needs one is none.
                  pg_catalog.bool_and(a.attnotnull and a.attgenerated = '') as always_published,
                  -- By type, not by what is in it now: the same index is chosen again the next time. A text
                  -- without a declared length counts like a long one.
                  pg_catalog.sum(case when a.attlen > 0 then a.attlen
                                      when a.atttypmod > 4 then least(a.atttypmod - 4, 64)
                                      else 64 end) as width_bytes
             from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
            where k.position <= i.indnkeyatts) key
     where i.indisunique and i.indisvalid and i.indimmediate
       and i.indpred is null and i.indexprs is null
       -- A key WITHOUT OVERLAPS is an exclusion constraint, which only the primary key may be.
       and (i.indisprimary or not i.indisexclusion)
       and key.always_published
     group by i.indrelid
)
select p.root_oid::int8, c.oid::int8, n.nspname::text as schema_name, c.relname::text as table_name,
       c.relkind::text as relation_kind, c.relpersistence = 'u' as is_unlogged,
       c.relreplident::text as identity_letter, c.relhassubclass as has_subclasses,
       greatest(c.reltuples, 0)::int8 as approximate_rows,
       case when c.relkind = 'r' then coalesce(pg_catalog.pg_table_size(c.oid), 0) else 0 end as size_bytes,
       exists (
           select from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and a.attgenerated <> '' and not a.attisdropped)
           as has_generated_columns,
       coalesce(u.indexes, '[]') as indexes
  from part p
  join pg_catalog.pg_class c on c.oid = p.oid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class root on root.oid = p.root_oid
  join pg_catalog.pg_namespace root_schema on root_schema.oid = root.relnamespace
  left join unique_index u on u.indrelid = c.oid
 order by root_schema.nspname, root.relname, p.root_oid, c.oid <> p.root_oid, n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index that can name rows: valid, immediate, whole, over NOT NULL columns only."""

    name: str
    root_oid: int
    """The partitioned index it belongs to, or itself."""

    is_primary: bool
    is_identity: bool
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table that may hold rows, or the root of a tree of such."""

    oid: int
    name: TableName
    relation_kind: str
    """``pg_class.relkind``."""

    is_unlogged: bool
    replica_identity: ReplicaIdentity
    has_subclasses: bool
    """``pg_class.relhassubclass``; may be true for one that had children once."""

    approximate_rows: int
    size_bytes: int
    has_generated_columns: bool
    indexes: tuple[UniqueIndex, ...]
    """Those with fewer columns first, then those with narrower ones."""

    @property
    def is_partitioned(self) -> bool:
        """Whether it is the root of a partition tree."""
        return self.relation_kind == "p"

    @property
    def has_children(self) -> bool:
        """Whether tables inherit from it in the old way; a statement that names it means them too."""
        return self.relation_kind == "r" and self.has_subclasses

    @property
    def primary_key(self) -> UniqueIndex | None:
        """The primary key, if it can be an identity: not deferrable, nothing generated in it."""
        return next((index for index in self.indexes if index.is_primary), None)

    @property
    def identity_index(self) -> UniqueIndex | None:
        """What REPLICA IDENTITY USING INDEX names, None once that index was dropped."""
        return next((index for index in self.indexes if index.is_identity), None)

    @property
    def usable_index(self) -> UniqueIndex | None:
        """The best index for REPLICA IDENTITY USING INDEX other than the primary key."""
        return next((index for index in self.indexes if not index.is_primary), None)

    def gives(self, columns: frozenset[str]) -> bool:
        """Whether the old row of an update holds ``columns`` with the identity it has now."""
        if self.replica_identity is ReplicaIdentity.FULL:
            return True
        key = {
            ReplicaIdentity.DEFAULT: self.primary_key,
            ReplicaIdentity.INDEX: self.identity_index,
        }.get(self.replica_identity)
        return key is not None and key.columns >= columns


class _IndexRow(TypedDict):
    name: str
    root_oid: int
    is_primary: bool
    is_identity: bool
    columns: list[str]


@dataclass(frozen=True, slots=True)
class _RelationRow:
    """One row of :data:`_RELATIONS`, as psycopg fills it."""

    root_oid: int
    oid: int
    schema_name: str
    table_name: str
    relation_kind: str
    is_unlogged: bool
    identity_letter: str
    has_subclasses: bool
    approximate_rows: int
    size_bytes: int
    has_generated_columns: bool
    indexes: list[_IndexRow]

    def relation(self) -> Relation:
        return Relation(
            oid=self.oid,
            name=TableName(self.schema_name, self.table_name),
            relation_kind=self.relation_kind,
            is_unlogged=self.is_unlogged,
            replica_identity=ReplicaIdentity(self.identity_letter),
            has_subclasses=self.has_subclasses,
            approximate_rows=self.approximate_rows,
            size_bytes=self.size_bytes,
            has_generated_columns=self.has_generated_columns,
            indexes=tuple(
                UniqueIndex(
                    index["name"],
                    index["root_oid"],
                    index["is_primary"],
                    index["is_identity"],
                    frozenset(index["columns"]),
                )
                for index in self.indexes
            ),
        )


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """The identity that a relation should get instead of the one it has."""

    relation: Relation
    identity: ReplicaIdentity
    index: str | None
    """Only with ``INDEX``."""


@dataclass(frozen=True, slots=True)
class TableTree:
    """A table with its leaves; a table that is not partitioned has none."""

    root: Relation
    leaves: tuple[Relation, ...]

    @property
    def identity(self) -> tuple[ReplicaIdentity, UniqueIndex | None]:
        """The identity the root has if it is one, else the cheapest it could have, with its index."""
        root = self.root
        if root.replica_identity is ReplicaIdentity.FULL:
            return ReplicaIdentity.FULL, None
        if root.replica_identity is ReplicaIdentity.INDEX and root.identity_index is not None:
            return ReplicaIdentity.INDEX, root.identity_index
        if root.primary_key is not None:
            return ReplicaIdentity.DEFAULT, root.primary_key
        if root.usable_index is not None:
            return ReplicaIdentity.INDEX, root.usable_index
        return ReplicaIdentity.FULL, None

    def identity_changes(self) -> tuple[IdentityChange, ...]:
        """What has to change before updates of the table and all its leaves can be published."""
        identity, index = self.identity
        changes = []
        for relation in (self.root, *self.leaves):
            if relation.relation_kind == "f":
                continue
            if index is None:
                if relation.replica_identity is not ReplicaIdentity.FULL:
                    changes.append(IdentityChange(relation, ReplicaIdentity.FULL, None))
            elif not relation.gives(index.columns):
                changes.append(_change_to_index(relation, identity, index))
        return tuple(changes)


def _change_to_index(relation: Relation, identity: ReplicaIdentity, index: UniqueIndex) -> IdentityChange:
    """How ``relation`` comes to name rows by the part of ``index`` that is its own."""
    own = next((candidate for candidate in relation.indexes if candidate.root_oid == index.root_oid), None)
    if own is None:
        return IdentityChange(relation, ReplicaIdentity.FULL, None)
    if identity is ReplicaIdentity.DEFAULT and own.is_primary:
        return IdentityChange(relation, ReplicaIdentity.DEFAULT, None)
    return IdentityChange(relation, ReplicaIdentity.INDEX, own.name)


def missing_tables(target: Session, names: Sequence[TableName]) -> tuple[TableName, ...]:
    """Which of ``names`` the target does not have.

    Raises:
        EngineError: The target could not be read.
    """
    schemas, tables = [name.schema for name in names], [name.table for name in names]
    try:
        rows = target.execute(_MISSING, (schemas, tables)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for tables") from None
    return tuple(TableName(str(schema), str(table)) for schema, table in rows)


def list_tables(session: Session) -> tuple[SourceTable, ...]:
    """All tables of the source that are somebody's own, sorted by name.

    Leaves out what belongs to the system, to extensions, to TimescaleDB and to this tool, and temporary
    tables. Partitions are part of their root.

    Args:
        session: On the source.

    Raises:
        EngineError: The source could not be read.
    """
    version_number = session.info.server_version
    return tuple(_source_table(tree, version_number) for tree in read_table_trees(session))


def read_table_trees(session: Session, names: Collection[TableName] | None = None) -> tuple[TableTree, ...]:
    """Read tables with their leaves in one round trip, sorted by name.

    Args:
        session: On the source.
        names: Which tables, which may also be partitions; those that do not exist are left out. None for
            all that :func:`list_tables` lists.

    Raises:
        EngineError: The source could not be read.
    """
    statement, parameters = _ALL, dict[str, list[str]]()
    if names is not None:
        statement = _NAMED
        parameters = {"schemas": [name.schema for name in names], "tables": [name.table for name in names]}
    try:
        with session.cursor(row_factory=class_row(_RelationRow)) as cursor:
            rows = cursor.execute(statement.encode() + _RELATIONS.encode(), parameters).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the table list") from None
    trees = []
    for _, group in groupby(rows, key=lambda row: row.root_oid):
        root, *leaves = (row.relation() for row in group)
        trees.append(TableTree(root, tuple(leaves)))
    return tuple(trees)


def _source_table(tree: TableTree, version_number: int) -> SourceTable:
    root = tree.root
    identity, has_primary_key = root.replica_identity, root.primary_key is not None
    changes = tree.identity_changes()
    if changes:
        refused = changes[0].relation
        has_primary_key = refused.primary_key is not None
        # An identity that is good for another table, but not in this tree or without its index, is none.
        if refused.replica_identity is not ReplicaIdentity.DEFAULT or has_primary_key:
            identity = ReplicaIdentity.NOTHING
        else:
            identity = ReplicaIdentity.DEFAULT
    usable_index = root.usable_index
    relations = (root, *tree.leaves)
    return SourceTable(
        oid=root.oid,
        name=root.name,
        kind=TableKind.PARTITIONED if root.is_partitioned else TableKind.TABLE,
        # The root's own estimate counts the leaves once more.
        approximate_rows=sum(
            leaf.approximate_rows for leaf in (tree.leaves if root.is_partitioned else (root,))
        ),
        size_bytes=sum(relation.size_bytes for relation in relations),
        replica_identity=identity,
        has_primary_key=has_primary_key,
        usable_index=None if usable_index is None else usable_index.name,
        problem=table_problem(tree, version_number),
    )


def table_problem(tree: TableTree, version_number: int) -> str | None:
    """Why a table cannot be published as it is, or None."""
    for relation in (tree.root, *tree.leaves):
        whose = "it is" if relation is tree.root else f"its partition {relation.name} is"
        if relation.relation_kind == "f":
            return f"{whose} a foreign table, whose rows are on another server"
        if relation.is_unlogged:
            return f"{whose} unlogged, so its changes are not in the WAL (alter table … set logged)"
    identity, _ = tree.identity
    if identity is ReplicaIdentity.FULL and tree.root.has_generated_columns and version_number >= 180000:
        return (
            "with generated columns and no key to find a row by, PostgreSQL 18 would refuse its updates "
            "once it is published (add a primary key)"
        )
    return None
