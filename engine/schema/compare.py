"""Compares the schemas of both sides object by object, as one pg_dump writes them.

The same pg_dump reads both, so what it writes differs where the objects do. These exceptions are known and
are no difference: white space, the names of NOT NULL constraints, which only PostgreSQL 18 keeps, the order
of a policy's roles, which pg_dump does not sort, views that a newer version writes in other words
(:mod:`engine.schema.rewording`), and replica identities that the migration itself set
(:mod:`engine.schema.own_identities`). Everything else is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engine.catalog.planned_identity import IdentityRecord
from engine.connection.endpoint import Endpoint
from engine.connection.session import Session
from engine.errors import Side, UsageError
from engine.schema.archive import ArchiveEntry, SchemaArchive, Sort, dump_archive, keep_all
from engine.schema.comparison import ComparedObject, ObjectKey, PlannedStatement, Presence, SchemaComparison
from engine.schema.identity import identify
from engine.schema.own_identities import without_own_identities
from engine.schema.rewording import reword
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

    target_texts: frozenset[str]
    """Statements of what the target has, in its own words and in the source's where they mean the same."""

    has_not_null_names: bool
    """Whether both sides keep the names of NOT NULL constraints."""

    def comparable(self, statement: str) -> str:
        """``statement`` in the form in which both sides are compared."""
        return canonical(statement, without_not_null_names=not self.has_not_null_names)

    def target_statements(self) -> frozenset[str]:
        """What the target has, each statement by itself and :meth:`comparable`."""
        return frozenset(
            self.comparable(statement) for text in self.target_texts for statement in single_statements(text)
        )


def compare_schemas(
    source_endpoint: Endpoint,
    source: Session,
    target_endpoint: Endpoint,
    target: Session,
    *,
    own_identities: Collection[IdentityRecord] = (),
    sort_source: Sort = keep_all,
    sort_target: Sort = keep_all,
    left_out_schemas: Collection[str] = (),
) -> ComparedSchemas:
    """Read and compare both schemas; changes nothing that stays.

    Args:
        source_endpoint, target_endpoint: For pg_dump.
        source, target: Sessions there, with no transaction open.
        own_identities: Replica identities that this migration set on the source.
        sort_source, sort_target: Which entries of each side are compared; by default all.
        left_out_schemas: Patterns of schemas that are a provider's own affair, on either side.

    Raises:
        BlockedError: No pg_dump is new enough for both.
        EngineError: A program or a server failed.
    """
    versions = (source.info.server_version, target.info.server_version)
    newest = max(versions)
    has_names = min(versions) >= _KEEPS_NOT_NULL_NAMES
    ours = without_own_identities(
        dump_archive(source_endpoint, newest, sort_source, left_out_schemas), own_identities
    )
    theirs = dump_archive(target_endpoint, newest, sort_target, left_out_schemas)
    our_keys = identify(source, Side.SOURCE, ours)
    their_keys = identify(target, Side.TARGET, theirs)

    def comparable(statement: str) -> str:
        return canonical(statement, without_not_null_names=not has_names)

    on_target: dict[ObjectKey, list[ArchiveEntry]] = defaultdict(list)
    for entry in (*theirs.pre_entries, *theirs.post_data):
        if not _makes_something(entry):
            continue
        on_target[their_keys[entry.id]].append(entry)

    pairs: list[tuple[bool, ArchiveEntry, ArchiveEntry | None]] = [
        (waits_for_rows, entry, namesakes.pop(0) if (namesakes := on_target[our_keys[entry.id]]) else None)
        for waits_for_rows, entries in ((False, ours.pre_entries), (True, ours.post_data))
        for entry in entries
        # Of a schema that is always there it holds a comment only.
        if _makes_something(entry)
    ]
    reworded: dict[int, str] = {}
    if versions[0] // 10000 != versions[1] // 10000:
        differing = [
            entry
            for _, entry, there in pairs
            if there is not None
            and there.statement != entry.statement
            and comparable(entry.statement) != comparable(there.statement)
        ]
        reworded = reword(source, target, differing)

    compared: list[ComparedObject] = []
    missing: dict[bool, list[tuple[ArchiveEntry, PlannedStatement]]] = {False: [], True: []}
    for waits_for_rows, entry, there in pairs:
        key = our_keys[entry.id]
        if there is None:
            presence = Presence.MISSING
            if not is_about_an_extension(key):
                planned = PlannedStatement(str(key), entry.statement, key)
                missing[waits_for_rows].append((entry, planned))
        elif there.statement == entry.statement or comparable(there.statement) in (
            comparable(entry.statement),
            comparable(reworded.get(entry.id, entry.statement)),
        ):
            presence = Presence.IDENTICAL
        else:
            presence = Presence.DIFFERENT
        compared.append(
            ComparedObject(key, presence, entry.statement, there.statement if there else "", waits_for_rows)
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
            if entry.has_oid
        },
        frozenset(_on_target(theirs, pairs, compared)),
        has_names,
    )


def is_about_an_extension(key: ObjectKey) -> bool:
    """Whether an object is an extension, or the comment that comes with one."""
    return key.kind in _COMES_BY_ITSELF or (key.kind == "COMMENT" and key.name.startswith("EXTENSION "))


def _on_target(
    theirs: SchemaArchive,
    pairs: list[tuple[bool, ArchiveEntry, ArchiveEntry | None]],
    compared: list[ComparedObject],
) -> list[str]:
    return [
        *(entry.statement for entry in (*theirs.pre_entries, *theirs.post_data)),
        *(
            entry.statement
            for (_, entry, _), one in zip(pairs, compared, strict=False)
            if one.presence is Presence.IDENTICAL
        ),
    ]


def _makes_something(entry: ArchiveEntry) -> bool:
    return any(line and not line.startswith("--") for line in entry.statement.splitlines())


def single_statements(text: str) -> list[str]:
    """The statements of one object, without their semicolons; the text itself where it cannot be read."""
    if text.find(";") == len(text) - 1:
        return [text[:-1]]
    try:
        return [unit.sql for unit in split_script(text)]
    except UsageError:
        # Syntax of a newer PostgreSQL than the grammar's, or a database in SQL_ASCII.
        return [text]
