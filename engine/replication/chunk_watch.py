"""Keeps the chunks of published hypertables in the publication and in the subscription.

A chunk that nobody published yet is added to the publication and then synced like a table of its own, from a
slot that is made afterwards: rows from before the addition come with the copy, later ones by the stream. So
nothing is missed, however late a chunk is found.

Merging and splitting chunks moves rows between them without a change in the stream. Such a chunk has another
range than the one that was recorded for it, and its hypertable is set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.connection.session import Session
from engine.errors import Failure, Retry, Side
from engine.replication.state import TableRow
from engine.snapshot import TableState
from engine.timescaledb.published import PublishedChunk, publish_chunk, read_published_chunks

_FOLLOWED = (TableState.SYNCDONE, TableState.READY)
"""Changes of a chunk in these may still come after it is gone, so it stays known; its rows stay as well."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """What a look found."""

    is_complete: bool
    """Whether every chunk there is is published and known."""

    is_changed: bool
    """Whether the publications have to be read again."""

    broken: tuple[tuple[int, Failure], ...]
    """Chunks, by oid, whose rows on the target cannot be right, and why."""


def look_at_chunks(source: Session, publications: Sequence[str], known: Sequence[TableRow]) -> Chunks:
    """Publish the chunks that are not yet; compare with what is known.

    Args:
        source: On a database with the extension.
        publications: Names of the subscription's publications.
        known: Its tables.

    Raises:
        BlockedError: A chunk is not published, and the role may not publish it.
        EngineError: The source could not be read or written.
    """
    chunks = read_published_chunks(source, publications)
    rows = {row.oid: row for row in known if row.is_chunk}
    unpublished = [chunk for chunk in chunks if chunk.lacking]
    added = [chunk for chunk in unpublished if publish_chunk(source, chunk)]
    gone = set(rows) - {chunk.oid for chunk in chunks}
    is_changed = (
        bool(added)
        or any(chunk.oid not in rows for chunk in chunks if not chunk.lacking)
        or any(rows[oid].state not in _FOLLOWED for oid in gone)
    )
    return Chunks(
        is_complete=len(added) == len(unpublished) and not is_changed,
        is_changed=is_changed,
        broken=_broken(chunks, rows),
    )


def _broken(chunks: Sequence[PublishedChunk], rows: dict[int, TableRow]) -> tuple[tuple[int, Failure], ...]:
    moved = {
        chunk.hypertable_oid
        for chunk in chunks
        if chunk.oid in rows and chunk.rows_condition != rows[chunk.oid].rows_condition
    }
    broken = [
        (oid, _moved_rows(row))
        for oid, row in rows.items()
        if row.hypertable_oid in moved and row.last_error is None
    ]
    already = {oid for oid, _ in broken}
    broken += [
        (chunk.oid, _left_publication(chunk))
        for chunk in chunks
        if chunk.lacking
        and chunk.oid in rows
        and chunk.oid not in already
        and rows[chunk.oid].last_error is None
        and rows[chunk.oid].state is not TableState.INIT
    ]
    return tuple(broken)


def _moved_rows(row: TableRow) -> Failure:
    return Failure(
        title=f"Chunks of the hypertable of {row.source} were merged or split on the source, which moves "
        "rows between them without a change that tells so",
        hint="Take the hypertable out of the publication, refresh-publication, empty the target table, put "
        "it in again, refresh-publication",
        side=Side.SOURCE,
        retry=Retry.MANUAL,
    )


def _left_publication(chunk: PublishedChunk) -> Failure:
    return Failure(
        title=f"The chunk {chunk.name} was taken out of the publication for a while, and its changes of that "
        "time cannot be had",
        hint="Retry it (its rows are copied again)",
        side=Side.SOURCE,
        retry=Retry.MANUAL,
    )
