"""Takes roles away again that the migration made on the target, and nothing that they own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import psycopg
from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.roles.planned import CreatedRole
from engine.script.planned import Script, ScriptStatement

FILE_NAME = "drop_roles.sql"

_THERE = """
select r.rolname::text, r.oid::int8
  from pg_catalog.pg_roles r
 where r.rolname = any (%(names)s)
 order by r.rolname collate "C"
"""

_GRANTS = """
select role.rolname::text, member.rolname::text, grantor.rolname::text
  from pg_catalog.pg_auth_members m
  join pg_catalog.pg_roles role on role.oid = m.roleid
  join pg_catalog.pg_roles member on member.oid = m.member
  join pg_catalog.pg_roles grantor on grantor.oid = m.grantor
 where grantor.rolname = any (%(names)s)
"""


def read_created(session: Session, side: Side, names: Iterable[str]) -> tuple[CreatedRole, ...]:
    """Roles as they are now, by name, to remember that they are ours.

    Raises:
        EngineError: The server could not be read.
    """
    try:
        found = session.execute(_THERE, {"names": list(names)}).fetchall()
    except psycopg.Error as error:
        raise explain(error, side, "reading its roles") from None
    return tuple(CreatedRole(str(name), int(str(oid))) for name, oid in found)


def plan_role_removal(target: Session, created: Collection[CreatedRole]) -> Script:
    """Write what drops roles. PostgreSQL refuses each one that owns or was granted something, and says what.

    Memberships go with a role. Who granted one is dropped after it, as PostgreSQL wants it since 16.

    Args:
        target: On the target.
        created: Roles that the migration made; those that are gone are passed over, and so are those that
            somebody has made anew.

    Raises:
        EngineError: The target could not be read.
    """
    found = set(read_created(target, Side.TARGET, (role.name for role in created)))
    left = [role.name for role in created if role in found]
    try:
        rows = target.execute(_GRANTS, {"names": left}).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading its roles") from None
    grants = [(str(role), str(member), str(grantor)) for role, member, grantor in rows]
    gone = tuple(f"role {quote_identifier(role.name)}" for role in created if role.name not in left)
    statements: list[ScriptStatement] = []
    while left:
        name = _next(left, grants)
        left.remove(name)
        grants = [grant for grant in grants if name not in grant[:2]]
        statement = sql.SQL("DROP ROLE {}").format(sql.Identifier(name)).as_string()
        statements.append(ScriptStatement(f"role {quote_identifier(name)}: dropped", statement))
    return Script(FILE_NAME, "Takes away the roles that were made here", tuple(statements), gone)


def _next(left: list[str], grants: list[tuple[str, str, str]]) -> str:
    """A role whose grants do not outlive it; the first where each has one, which PostgreSQL then refuses."""
    return next(
        (
            name
            for name in left
            if not any(grantor == name and name not in (role, member) for role, member, grantor in grants)
        ),
        left[0],
    )
