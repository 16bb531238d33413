"""Compares the schemas of both sides object by object, as one pg_dump writes them.

The same pg_dump reads both, so what it writes differs where the objects do. Two exceptions are known and left
out: white space, and the names of NOT NULL constraints, which only PostgreSQL 18 keeps. Everything else is
shown, such as an expression that a newer version writes in other words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from engine.connection.endpoint import Endpoint
from engine.connection.session import Session
from engine.errors import Side, UsageError
from engine.schema.archive import ArchiveEntry, SchemaArchive, dump_archive
from engine.schema.comparison import ComparedObject, ObjectKey, PlannedStatement, Presence, SchemaComparison
from engine.schema.identity import identify
from engine.script.grammar import canonical, split_script

_KEEPS_NOT_NULL_NAMES = 180000

_COMES_BY_ITSELF = ("EXTENSION",)
"""Made by :mod:`engine.schema.extensions`, with their comments."""


@dataclass(frozen=True, slots=True)
class ComparedSchemas:
    """Both schemas, compared."""

    comparison: SchemaComparison
    source: SchemaArchive
    missing_pre_data: tuple[tuple[ArchiveEntry, PlannedStatement], ...]
    """In an order that works, without extensions."""

    missing_post_data: tuple[tuple[ArchiveEntry, PlannedStatement], ...]
    target_objects: Mapping[ObjectKey, tuple[int, int]]
    """Catalog and oid of what the target has, in the order in which it was made; without what has no oid."""

    target_statements: frozenset[str]
    """What the target has, each statement as :meth:`comparable` makes it."""

    has_not_null_names: bool
    """Whether both sides keep the names of NOT NULL constraints."""

    def comparable(self, statement: str) -> str:
        """``statement`` in the form in which both sides are compared."""
        return canonical(statement, without_not_null_names=not self.has_not_null_names)


def compare_schemas(
    source_endpoint: Endpoint, source: Session, target_endpoint: Endpoint, target: Session
) -> ComparedSchemas:
    """Read and compare both schemas; changes nothing.

    Args:
        source_endpoint, target_endpoint: For pg_dump.
        source, target: Sessions there.

    Raises:
        BlockedError: No pg_dump is new enough for both.
        EngineError: A program or a server failed.
    """
    versions = (source.info.server_version, target.info.server_version)
    newest = max(versions)
    has_names = min(versions) >= _KEEPS_NOT_NULL_NAMES
    ours = dump_archive(source_endpoint, newest)
    theirs = dump_archive(target_endpoint, newest)
    our_keys = identify(source, Side.SOURCE, ours)
    their_keys = identify(target, Side.TARGET, theirs)

    def comparable(statement: str) -> str:
        return canonical(statement, without_not_null_names=not has_names)

    on_target: dict[ObjectKey, list[ArchiveEntry]] = defaultdict(list)
    for entry in (*theirs.pre_entries, *theirs.post_data):
        on_target[their_keys[entry.id]].append(entry)

    compared: list[ComparedObject] = []
    missing: dict[bool, list[tuple[ArchiveEntry, PlannedStatement]]] = {False: [], True: []}
    for waits_for_rows, entries in ((False, ours.pre_entries), (True, ours.post_data)):
        for entry in entries:
            key = our_keys[entry.id]
            there = on_target[key].pop(0) if on_target.get(key) else None
            if there is None:
                presence = Presence.MISSING
                if not _is_about_an_extension(key):
                    planned = PlannedStatement(str(key), entry.statement, key)
                    missing[waits_for_rows].append((entry, planned))
            elif comparable(entry.statement) == comparable(there.statement):
                presence = Presence.IDENTICAL
            else:
                presence = Presence.DIFFERENT
            compared.append(
                ComparedObject(
                    key, presence, entry.statement, there.statement if there else "", waits_for_rows
                )
            )
    left = {entry.id for entries in on_target.values() for entry in entries}
    for waits_for_rows, entries in ((False, theirs.pre_entries), (True, theirs.post_data)):
        compared += [
            ComparedObject(their_keys[entry.id], Presence.ONLY_ON_TARGET, "", entry.statement, waits_for_rows)
            for entry in entries
            if entry.id in left
        ]
    return ComparedSchemas(
        SchemaComparison(tuple(compared)),
        ours,
        tuple(missing[False]),
        tuple(missing[True]),
        {
            their_keys[entry.id]: (entry.catalog_oid, entry.oid)
            for entry in (*theirs.pre_entries, *theirs.post_data)
            if entry.oid
        },
        frozenset(
            comparable(statement)
            for entry in (*theirs.pre_entries, *theirs.post_data)
            for statement in _single(entry.statement)
        ),
        has_names,
    )


def _is_about_an_extension(key: ObjectKey) -> bool:
    return key.kind in _COMES_BY_ITSELF or (key.kind == "COMMENT" and key.name.startswith("EXTENSION "))


def _single(text: str) -> list[str]:
    try:
        return [unit.sql for unit in split_script(text)]
    except UsageError:
        # Syntax of a newer PostgreSQL than the grammar's, or a database in SQL_ASCII.
        return [text]
