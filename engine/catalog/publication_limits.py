"""Column lists and row filters of a publication: kept, and refused where updates would fail under them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import sql

from engine.catalog.planned_identity import IdentitySetting
from engine.catalog.publication_facts import Member, Publication
from engine.catalog.replica_identity import identity_statement
from engine.catalog.table import ReplicaIdentity, TableName, quote_identifier
from engine.catalog.tables import TableTree
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side


def limit_note(member: Member) -> str:
    parts = []
    if member.columns is not None:
        parts.append(f"only the columns {', '.join(map(quote_identifier, member.columns))}")
    if member.row_filter is not None:
        parts.append(f"only rows where {member.row_filter}")
    return f"{member.name} is published with {' and '.join(parts)}; nothing else of it reaches the target"


def require_limits_kept(existing: Publication, kept: Sequence[Member], schemas: Collection[str]) -> None:
    """PostgreSQL 29.5 allows no column list beside a schema; a schema's tables come with all their rows."""
    added = set(schemas) - {schema.name for schema in existing.schemas}
    for member in kept:
        if added and member.columns is not None:
            raise _blocked(
                f"{member.name} is published with a column list, which PostgreSQL does not allow in a "
                "publication of whole schemas",
                "Choose the tables of the schema instead",
            )
        if member.schema in added and member.row_filter is not None:
            raise _blocked(
                f"{member.name} is published with a row filter, which would be lost with the whole schema "
                f"{quote_identifier(member.schema)}",
                "Choose the tables of the schema instead",
            )


def require_limits_allow_updates(
    session: Session, publication: str, kept: Sequence[Member], trees: Sequence[TableTree]
) -> None:
    """Refuse column lists and row filters with which PostgreSQL refuses updates (29.4, 29.5).

    Such a publication without updates does no harm, until they are added to it.
    """
    by_oid = {tree.root.oid: tree for tree in trees}
    for member in kept:
        tree = by_oid[member.oid]
        name, (identity, index) = member.name, tree.identity
        if member.columns is not None:
            is_whole = identity is ReplicaIdentity.FULL or any(
                leaf.replica_identity is ReplicaIdentity.FULL for leaf in tree.leaves
            )
            left_out = [] if index is None else sorted(index.columns - set(member.columns))
            if is_whole or left_out:
                what = "all columns" if is_whole else ", ".join(map(quote_identifier, left_out))
                raise _blocked(
                    f"{name} is published with a column list, and what names its rows is not in it ({what}): "
                    "its updates and deletes would fail",
                    "Put those columns into the list; a table without a key takes none. To publish all: "
                    f"{_drop_statement(session, publication, name)}, and plan again",
                )
        unread = set(member.filter_columns or ()) - (frozenset() if index is None else index.columns)
        if unread and index is not None:
            columns = ", ".join(map(quote_identifier, sorted(unread)))
            full = identity_statement(session, name, IdentitySetting(ReplicaIdentity.FULL))
            raise _blocked(
                f"{name} is published with a row filter over {columns}, which is not part of what names its "
                "rows: its updates and deletes would fail",
                f"Name them by the whole row: {full}. Or publish all rows: "
                f"{_drop_statement(session, publication, name)}, and plan again",
            )


def _drop_statement(session: Session, publication: str, name: TableName) -> str:
    statement = sql.SQL("alter publication {} drop table {}")
    names = sql.Identifier(publication), sql.Identifier(name.schema, name.table)
    return statement.format(*names).as_string(session)


def _blocked(title: str, hint: str) -> BlockedError:
    return BlockedError(Failure(title, hint=hint, side=Side.SOURCE, retry=Retry.MANUAL))
