"""Names the objects of an archive so that the other side's are found by the same name.

``pg_restore`` writes names for display: cut at line ends, of a constraint with its table before it and no
sign between them. So a server says what object an oid is (``pg_identify_object``, PostgreSQL 9.28.8), quoted
and with its schema. What has no oid, such as a comment, is named after what it depends on.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.schema.archive import ArchiveEntry, SchemaArchive
from engine.schema.comparison import ObjectKey

_IDENTIFY = """
select asked.catalog, asked.oid, found.identity
  from unnest(%s::int8[], %s::int8[]) as asked(catalog, oid)
 cross join lateral pg_catalog.pg_identify_object(asked.catalog::oid, asked.oid::oid, 0) found
"""


def identify(session: Session, side: Side, archive: SchemaArchive) -> dict[int, ObjectKey]:
    """The key of each entry, by the entry's id.

    Args:
        session: On the database that ``archive`` was dumped from.
        side: Which that is.
        archive: As dumped.

    Raises:
        EngineError: The server could not be read.
    """
    entries = (*archive.pre_entries, *archive.post_data)
    names = _names(session, side, [entry for entry in entries if entry.has_oid])
    own = {entry.id: names.get((entry.catalog_oid, entry.oid)) for entry in entries}
    keys: dict[int, ObjectKey] = {}
    for entry in entries:
        # An object that was dropped since the dump has no identity any more.
        name = own[entry.id]
        if name is None:
            of = sorted(found for other in entry.dependencies if (found := own.get(other)) is not None)
            name = f"{entry.name} of {', '.join(of)}" if of else entry.name
        keys[entry.id] = ObjectKey(entry.kind, name)
    return keys


def _names(
    session: Session, side: Side, entries: Sequence[ArchiveEntry]
) -> dict[tuple[int, int], str | None]:
    try:
        rows = session.execute(
            _IDENTIFY, ([entry.catalog_oid for entry in entries], [entry.oid for entry in entries])
        ).fetchall()
    except psycopg.Error as error:
        raise explain(error, side, "naming the objects of its schema") from None
    return {
        (int(str(catalog)), int(str(oid))): None if identity is None else str(identity)
        for catalog, oid, identity in rows
    }
