"""Which objects of a schema wait until rows are there, for which of them a table's catch-up waits, and how.

Before a table's catch-up: its primary key and the index of its replica identity, because every update and
delete that follows finds its row by them. Of a partitioned table, those of all its partitions, attached. All
else, other unique indexes too, would only make the catch-up slower and comes when every table is copied.

A foreign key is added NOT VALID, which locks its tables for a moment, and validated in a step of its own,
which lets writes go on. Not where a partitioned table is on either side: there PostgreSQL before 18 cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.schema.archive import PG_CLASS, ArchiveEntry, SchemaArchive

_IDENTITIES = """
select i.indexrelid::int8, k.oid::int8, i.indrelid::int8
  from pg_catalog.pg_index i
  left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
 where (i.indisprimary or i.indisreplident)
   and i.indrelid >= 16384
"""

_ANCESTORS = """
select c.oid::int8, (select pg_catalog.array_agg(a.relid::oid::int8)
                       from pg_catalog.pg_partition_ancestors(c.oid::pg_catalog.regclass) a)
  from pg_catalog.pg_class c
 where c.relispartition and c.relkind in ('r', 'p', 'f')
"""

_FOREIGN_KEYS = """
select k.oid::int8, pg_catalog.format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I;',
                                      n.nspname, c.relname, k.conname)
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class referenced on referenced.oid = k.confrelid
 where k.contype = 'f' and k.convalidated and c.relkind = 'r' and referenced.relkind = 'r'
"""

_PG_CONSTRAINT = 2606
_ADDS_TO_A_TABLE = "ALTER TABLE ONLY "

INDEX = "INDEX"
"""The one kind that several sessions can build on one table at the same time."""

VALIDATION = "FK VALIDATION"


@dataclass(frozen=True, slots=True)
class DeferredObject:
    """One step that waits until rows are there."""

    position: int
    """Its number in an order that works, from 1."""

    kind: str
    """pg_dump's word, or :data:`VALIDATION`."""

    name: str
    """For display."""

    statement: str
    source_tables: frozenset[int]
    """Oids of the source's tables it is about, and of the partitioned tables above them."""

    needed_by: frozenset[int]
    """Oids of the tables whose catch-up waits for it: the table, and the partitioned tables above it."""

    requires: frozenset[int]
    """Positions of steps that come first."""


@dataclass(frozen=True, slots=True)
class _Catalog:
    """What pg_dump does not tell."""

    identities: Mapping[tuple[int, int], int]
    """Catalog and oid of each primary key's and replica identity's index or constraint, and its table."""

    ancestors: Mapping[int, frozenset[int]]
    validations: Mapping[int, str]
    """Of each foreign key that is valid on the source and can be validated on its own, how."""

    def with_ancestors(self, table: int) -> frozenset[int]:
        return self.ancestors.get(table, frozenset()) | {table}


def plan_deferral(source: Session, archive: SchemaArchive) -> tuple[DeferredObject, ...]:
    """Put the post-data of ``archive`` into steps.

    Args:
        source: The database it was dumped from.
        archive: As dumped.

    Raises:
        EngineError: The source could not be read.
    """
    catalog = _read_catalog(source)
    positions: dict[int, int] = {}
    planned: list[DeferredObject] = []
    for entry in archive.post_data:
        requires = frozenset(positions[other] for other in entry.dependencies if other in positions)
        step = DeferredObject(
            position=len(planned) + 1,
            kind=entry.kind,
            name=entry.name,
            statement=entry.statement,
            source_tables=frozenset[int]().union(
                *(
                    catalog.with_ancestors(archive.relations[other])
                    for other in entry.dependencies
                    if other in archive.relations
                )
            ),
            needed_by=_needed_by(catalog, entry, [planned[number - 1] for number in requires]),
            requires=requires,
        )
        planned.append(step)
        positions[entry.id] = step.position
        validation = _validated_apart(catalog, entry)
        if validation is not None:
            without_end = entry.statement.removesuffix(";")
            planned[-1] = replace(step, statement=f"{without_end} NOT VALID;")
            planned.append(
                DeferredObject(
                    position=step.position + 1,
                    kind=VALIDATION,
                    name=step.name,
                    statement=validation,
                    source_tables=step.source_tables,
                    needed_by=frozenset(),
                    requires=frozenset((step.position,)),
                )
            )
    return tuple(planned)


def _needed_by(catalog: _Catalog, entry: ArchiveEntry, requires: list[DeferredObject]) -> frozenset[int]:
    table = catalog.identities.get((entry.catalog_oid, entry.oid))
    if table is not None:
        return catalog.with_ancestors(table)
    if entry.kind != "INDEX ATTACH":
        return frozenset()
    # Of a partition's key and its root's: those tables that wait for both.
    return frozenset.intersection(*(step.needed_by for step in requires)) if requires else frozenset()


def _validated_apart(catalog: _Catalog, entry: ArchiveEntry) -> str | None:
    """The statement that validates a foreign key which may be added NOT VALID."""
    if entry.kind != "FK CONSTRAINT" or not entry.statement.startswith(_ADDS_TO_A_TABLE):
        return None
    return catalog.validations.get(entry.oid)


def _read_catalog(source: Session) -> _Catalog:
    try:
        identities = source.execute(_IDENTITIES).fetchall()
        ancestors = source.execute(_ANCESTORS).fetchall()
        foreign_keys = source.execute(_FOREIGN_KEYS).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading keys and partitions") from None
    by_object: dict[tuple[int, int], int] = {}
    for index, constraint, table in identities:
        by_object[PG_CLASS, int(str(index))] = int(str(table))
        if constraint is not None:
            by_object[_PG_CONSTRAINT, int(str(constraint))] = int(str(table))
    return _Catalog(
        by_object,
        {
            int(str(table)): frozenset(int(str(one)) for one in above)
            for table, above in ancestors
            if isinstance(above, list)
        },
        {int(str(oid)): str(statement) for oid, statement in foreign_keys},
    )
