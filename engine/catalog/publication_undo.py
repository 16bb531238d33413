"""Takes back what was done to publications: those that were made are dropped, others get back what they had.

Only what was changed is changed back, and only as far as it still is what it was changed to: somebody else
may have gone on working with a publication that was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from psycopg import sql

from engine.catalog.planned import PublishedMember
from engine.catalog.publication_facts import Member, Publication, read_publications
from engine.catalog.publication_record import PublicationRecord, PublicationState
from engine.catalog.table import TableName, quote_identifier
from engine.connection.session import Session
from engine.script.planned import ScriptStatement

_KINDS = ("insert", "update", "delete", "truncate")


def read_publication_states(session: Session) -> Mapping[str, PublicationState]:
    """Every publication of the source, by name.

    Raises:
        EngineError: The source could not be read.
    """
    return {publication.name: _state(publication) for publication in read_publications(session)}


def changed_publications(
    before: Mapping[str, PublicationState], after: Mapping[str, PublicationState]
) -> tuple[PublicationRecord, ...]:
    """What undoes the difference between two readings of :func:`read_publication_states`."""
    return tuple(
        PublicationRecord(name, before.get(name), state)
        for name, state in after.items()
        if before.get(name) != state
    )


def plan_publication_undo(
    session: Session, records: Iterable[PublicationRecord]
) -> tuple[ScriptStatement, ...]:
    """What takes the recorded changes back, in the order it has to be run.

    Args:
        session: On the source.
        records: What was remembered.

    Returns:
        Nothing about publications that are as they were, or are gone. What cannot be taken back is set apart
        with the reason.

    Raises:
        EngineError: The source could not be read.
    """
    publications = {publication.name: publication for publication in read_publications(session)}
    return tuple(
        statement
        for record in reversed(tuple(records))
        if record.name in publications
        for statement in _undo(session, publications[record.name], record)
    )


def still_changed(session: Session, records: Iterable[PublicationRecord]) -> tuple[PublicationRecord, ...]:
    """Those of ``records`` that are still to be taken back.

    Raises:
        EngineError: The source could not be read.
    """
    return tuple(record for record in records if plan_publication_undo(session, (record,)))


def _undo(session: Session, now: Publication, record: PublicationRecord) -> Iterator[ScriptStatement]:
    shown = quote_identifier(now.name)
    state = _state(now)
    after = record.after or state
    if now.oid != after.oid:
        return  # Ours was dropped, and somebody has made another.
    if record.before is None:
        yield ScriptStatement(
            f"publication {shown}: dropped, it was made for this migration",
            _text(session, "drop publication {}", sql.Identifier(now.name)),
        )
        return
    before = record.before
    kinds = _kinds_back(session, now.name, before, after, state)
    gives_kinds = len(before.lacking_kinds) < len(after.lacking_kinds)
    if not gives_kinds:
        yield from kinds
    yield from _tables_back(session, now, before, after)
    if gives_kinds:
        yield from kinds
    if before.via_root != after.via_root == state.via_root:
        yield ScriptStatement(
            f"publication {shown}: partitions published as before",
            _text(
                session,
                "alter publication {} set (publish_via_partition_root = {})",
                sql.Identifier(now.name),
                sql.Literal(before.via_root),
            ),
        )


def _kinds_back(
    session: Session, name: str, before: PublicationState, after: PublicationState, now: PublicationState
) -> list[ScriptStatement]:
    if before.lacking_kinds == after.lacking_kinds or now.lacking_kinds != after.lacking_kinds:
        return []
    kinds = ", ".join(kind for kind in _KINDS if kind not in before.lacking_kinds)
    return [
        ScriptStatement(
            f"publication {quote_identifier(name)}: publishes {kinds or 'no changes'} as before",
            _text(
                session, "alter publication {} set (publish = {})", sql.Identifier(name), sql.Literal(kinds)
            ),
        )
    ]


def _tables_back(
    session: Session, now: Publication, before: PublicationState, after: PublicationState
) -> Iterator[ScriptStatement]:
    shown, name = quote_identifier(now.name), sql.Identifier(now.name)
    had = {member.name: member for member in before.members}
    got = {member.name: member for member in after.members}
    has = {member.name: _member(member) for member in now.members}
    schemas = {schema.name for schema in now.schemas}
    for table in _only_in(had, got):
        if table not in has:
            yield ScriptStatement(
                f"publication {shown}: {table} in it again",
                _text(session, "alter publication {} add table only {}", name, _with_limits(had[table])),
            )
    for schema in sorted({*before.schemas} - {*after.schemas} - schemas):
        yield ScriptStatement(
            f"publication {shown}: the schema {quote_identifier(schema)} in it again",
            _text(session, "alter publication {} add tables in schema {}", name, sql.Identifier(schema)),
        )
    for table in _only_in(got, had):
        if table in has:
            yield ScriptStatement(
                f"publication {shown}: without {table} again",
                _text(session, "alter publication {} drop table only {}", name, _identifier(table)),
            )
    for schema in sorted(({*after.schemas} - {*before.schemas}) & schemas):
        yield ScriptStatement(
            f"publication {shown}: without the schema {quote_identifier(schema)} again",
            _text(session, "alter publication {} drop tables in schema {}", name, sql.Identifier(schema)),
        )
    for table in sorted(had.keys() & got.keys()):
        if had[table] != got[table] == has.get(table):
            limits = _text(session, "{}", _with_limits(had[table]))
            yield ScriptStatement(
                f"publication {shown}: column list or row filter of {table}",
                _text(session, "alter publication {} drop table only {}", name, _identifier(table))
                + f"; alter publication {name.as_string(session)} add table only {limits}",
                "whoever reads this publication would miss what is changed between these two; run them when "
                "nobody writes",
            )


def _only_in(these: Mapping[TableName, PublishedMember], those: Collection[TableName]) -> list[TableName]:
    return sorted(table for table in these if table not in those)


def _with_limits(member: PublishedMember) -> sql.Composed:
    parts = [_identifier(member.name)]
    if member.columns is not None:
        parts.append(sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, member.columns))))
    if member.row_filter is not None:
        # It was written by the server, with an empty search_path.
        parts.append(sql.SQL("where ({})").format(sql.SQL(member.row_filter)))
    return sql.SQL(" ").join(parts)


def _identifier(name: TableName) -> sql.Composable:
    return sql.Identifier(name.schema, name.table)


def _text(session: Session, statement: str, *parts: sql.Composable) -> str:
    return sql.SQL(statement).format(*parts).as_string(session)


def _member(member: Member) -> PublishedMember:
    return PublishedMember(
        member.name, None if member.columns is None else tuple(member.columns), member.row_filter
    )


def _state(publication: Publication) -> PublicationState:
    return PublicationState(
        publication.oid,
        tuple(map(_member, publication.members)),
        tuple(schema.name for schema in publication.schemas),
        publication.lacking_kinds,
        publication.via_root,
    )
