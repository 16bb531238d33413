"""Reads the roles of a server from its catalogs.

Not ``pg_dumpall --roles-only``: its output would have to be parsed and taken apart again, to compare it with
the target and to leave out what a target refuses, and it needs a program as new as the server. The catalogs
say the same; a test holds the outcome against pg_dumpall's output of both servers.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.secret import Secret
from engine.connection.session import Session
from engine.errors import Side

BOOTSTRAP_OID = 10
"""Of the superuser that initdb made (``BOOTSTRAP_SUPERUSERID``)."""

MEMBERSHIP_OPTIONS_SINCE = 160000
"""GRANT … WITH INHERIT, SET; and grantors that mean something."""

_ROLES = """
select r.oid::int8, r.rolname::text as name, r.rolsuper as superuser, r.rolinherit as inherits,
       r.rolcreaterole as creates_roles, r.rolcreatedb as creates_databases, r.rolcanlogin as logs_in,
       r.rolreplication as replicates, r.rolbypassrls as bypasses_rls,
       r.rolconnlimit as connection_limit, r.rolvaliduntil::text as valid_until,
       pg_catalog.shobj_description(r.oid, 'pg_authid') as comment
  from pg_catalog.pg_roles r
 order by r.rolname collate "C"
"""

_MAY_READ_PASSWORDS = (
    "select pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'select')"
    " and pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolname', 'select')"
)

_PASSWORDS = (
    "select a.rolname::text, a.rolpassword from pg_catalog.pg_authid a where a.rolpassword is not null"
)

_MEMBERSHIPS = """
select role.rolname::text as role, member.rolname::text as member,
       case when m.grantor = 10 then '' else grantor.rolname::text end as grantor,
       m.admin_option as admin, {inherits} as inherits, {sets} as sets
  from pg_catalog.pg_auth_members m
  join pg_catalog.pg_roles role on role.oid = m.roleid
  join pg_catalog.pg_roles member on member.oid = m.member
  -- Before 16 a grantor may be gone.
  left join pg_catalog.pg_roles grantor on grantor.oid = m.grantor
 order by 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Role:
    """A role's attributes (``pg_roles``)."""

    oid: int
    name: str
    superuser: bool
    inherits: bool
    creates_roles: bool
    creates_databases: bool
    logs_in: bool
    replicates: bool
    bypasses_rls: bool
    connection_limit: int
    """-1 is no limit."""

    valid_until: str | None
    """In UTC; ``infinity`` too."""

    comment: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    """One row of ``pg_auth_members``."""

    role: str
    member: str
    grantor: str | None
    """Empty for the bootstrap superuser, None where that role is gone."""

    admin: bool
    inherits: bool | None
    """None before PostgreSQL 16, where the member's own INHERIT decides."""

    sets: bool | None


@dataclass(frozen=True, slots=True)
class RoleCatalog:
    """All roles of one server."""

    side: Side
    version_number: int
    current_role: str
    is_superuser: bool
    """Whether the session's role is one."""

    roles: dict[str, Role]
    memberships: tuple[Membership, ...]
    passwords: dict[str, Secret] | None
    """What the server stores of passwords, by role; None when our role may not read it."""


def read_roles(session: Session, side: Side) -> RoleCatalog:
    """Read all roles.

    Args:
        session: On the server.
        side: Which one it is.

    Raises:
        EngineError: They could not be read.
    """
    has_options = session.info.server_version >= MEMBERSHIP_OPTIONS_SINCE
    memberships = _MEMBERSHIPS.format(
        inherits="m.inherit_option" if has_options else "null::bool",
        sets="m.set_option" if has_options else "null::bool",
    )
    try:
        current = session.execute("select current_user::text").fetchone()
        assert current is not None  # A query without FROM has one row.
        with session.cursor(row_factory=class_row(Role)) as cursor:
            roles = {role.name: role for role in cursor.execute(_ROLES)}
        with session.cursor(row_factory=class_row(Membership)) as member_cursor:
            members = tuple(member_cursor.execute(memberships.encode()))
        may_read = session.execute(_MAY_READ_PASSWORDS).fetchone()
        passwords = None
        if may_read == (True,):
            passwords = {str(name): Secret(str(value)) for name, value in session.execute(_PASSWORDS)}
    except psycopg.Error as error:
        raise explain(error, side, "reading its roles") from None
    name = str(current[0])
    return RoleCatalog(
        side,
        session.info.server_version,
        name,
        name in roles and roles[name].superuser,
        roles,
        members,
        passwords,
    )
