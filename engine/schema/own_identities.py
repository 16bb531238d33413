"""The source's schema as it is without the replica identities that the migration itself set there.

They are set after the schema was restored, and put back at the end (:mod:`engine.catalog.identity_change`).
Until then pg_dump writes them like any other: a comparison would show each such table as different, and a
table that is restored later would keep on the target for good what the source has for a while.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from engine.catalog.planned_identity import IdentityRecord
from engine.catalog.table import ReplicaIdentity
from engine.schema.archive import PG_CLASS, ArchiveEntry, SchemaArchive

_NAME = r"\n\nALTER TABLE ONLY (?P<name>(?:(?!\n\nALTER TABLE ).)+)"
_OF_TABLE = re.compile(rf"{_NAME} REPLICA IDENTITY (?:FULL|NOTHING);", re.S)
_OF_INDEX = re.compile(rf"{_NAME} REPLICA IDENTITY USING INDEX .+;\Z", re.S)
"""As pg_dump writes them: the one after CREATE TABLE, the other after what makes the index."""

_ON_THE_TABLE = (ReplicaIdentity.FULL, ReplicaIdentity.NOTHING)


def without_own_identities(archive: SchemaArchive, records: Collection[IdentityRecord]) -> SchemaArchive:
    """What pg_dump would have written before.

    Args:
        archive: Of the source.
        records: Replica identities that were changed. One that somebody changed again is left as it is.
    """
    by_oid = {record.oid: record for record in records}
    entries = {entry.id: entry for entry in (*archive.pre_entries, *archive.post_data)}
    tables = {
        entry.oid: entry
        for entry in archive.pre_entries
        if entry.catalog_oid == PG_CLASS and entry.oid in by_oid and entry.kind == "TABLE"
    }
    for oid, entry in tables.items():
        if by_oid[oid].after.identity in _ON_THE_TABLE:
            entries[entry.id] = _with_table_identity(entry, by_oid[oid])
    for entry in archive.post_data:
        for other in entry.dependencies:
            record = by_oid.get(archive.relations.get(other, 0))
            found = _OF_INDEX.search(entry.statement)
            if record is None or found is None or record.after.identity is not ReplicaIdentity.INDEX:
                continue
            entries[entry.id] = replace(entry, statement=entry.statement[: found.start()])
            table = tables.get(record.oid)
            if table is not None and record.before.identity in _ON_THE_TABLE:
                statement = table.statement + _statement(found["name"], record)
                entries[table.id] = replace(table, statement=statement)
    return replace(
        archive,
        pre_entries=tuple(entries[entry.id] for entry in archive.pre_entries),
        post_data=tuple(entries[entry.id] for entry in archive.post_data),
    )


def _with_table_identity(entry: ArchiveEntry, record: IdentityRecord) -> ArchiveEntry:
    found = _OF_TABLE.search(entry.statement)
    if found is None or not found[0].endswith(f" {record.after.identity.name};"):
        return entry
    before = _statement(found["name"], record) if record.before.identity in _ON_THE_TABLE else ""
    return replace(
        entry, statement=f"{entry.statement[: found.start()]}{before}{entry.statement[found.end() :]}"
    )


def _statement(name: str, record: IdentityRecord) -> str:
    return f"\n\nALTER TABLE ONLY {name} REPLICA IDENTITY {record.before.identity.name};"
