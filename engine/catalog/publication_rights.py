"""What a role lacks before it may publish (CREATE PUBLICATION and ALTER PUBLICATION, Notes)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.planned_identity import MissingRight
from engine.catalog.publication_facts import Publication
from engine.catalog.replica_identity import owner_right
from engine.catalog.table import quote_identifier
from engine.catalog.tables import Relation
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_ROLE = """
select current_user::text as role, r.rolsuper as is_superuser, current_database()::text as database,
       pg_catalog.has_database_privilege(current_database(), 'create') as may_create
  from pg_catalog.pg_roles r
 where r.rolname = current_user
"""

_FOREIGN_OWNERS = """
select c.oid::int8, pg_catalog.pg_get_userbyid(c.relowner)::text as owner
  from pg_catalog.pg_class c
 where c.oid = any (%s::oid[]) and not pg_catalog.pg_has_role(c.relowner, 'usage')
"""


@dataclass(frozen=True, slots=True)
class _Role:
    role: str
    is_superuser: bool
    database: str
    may_create: bool


def missing_rights(
    session: Session, existing: Publication | None, added: Sequence[Relation], schemas: Collection[str]
) -> tuple[MissingRight, ...]:
    """Why PostgreSQL would refuse to make or alter a publication to the session's role.

    Args:
        session: On the source.
        existing: What is altered; None when it is made.
        added: Tables that come into it by name. To take one out, nobody has to own it.
        schemas: Schemas that it publishes whole.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_Role)) as cursor:
            role = cursor.execute(_ROLE).fetchone()
        foreign = session.execute(_FOREIGN_OWNERS, ([root.oid for root in added],)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the rights to publish") from None
    assert role is not None  # Each session has one.
    rights = []
    if existing is None and not role.may_create:
        statement = sql.SQL("grant create on database {} to {}")
        rights.append(
            MissingRight(
                f"{quote_identifier(role.role)} may not create a publication in this database",
                statement.format(sql.Identifier(role.database), sql.Identifier(role.role)).as_string(session),
            )
        )
    if existing is not None and not existing.is_owner:
        rights.append(
            owner_right(
                session, f"The publication {quote_identifier(existing.name)}", existing.owner, role.role
            )
        )
    published = set() if existing is None else {schema.name for schema in existing.schemas}
    if not set(schemas) <= published and not role.is_superuser:
        rights.append(
            MissingRight(
                f"Only a superuser may publish a whole schema, which {quote_identifier(role.role)} is not; "
                "without that, choose its tables instead",
                sql.SQL("alter role {} superuser").format(sql.Identifier(role.role)).as_string(session),
            )
        )
    names = {root.oid: root.name for root in added}
    rights += [
        owner_right(session, str(names[int(str(oid))]), str(owner), role.role) for oid, owner in foreign
    ]
    return tuple(rights)
