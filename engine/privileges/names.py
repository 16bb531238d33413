"""Whom a role of the source is on the target, and what the target's own role may do in other roles' names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

# What is needed is to act as that role with SET ROLE, and to have its rights without it.
_ROLES_SINCE_16 = """
select r.rolname::text, r.rolsuper, r.oid = 10,
       pg_catalog.pg_has_role(r.oid, 'set') and pg_catalog.pg_has_role(r.oid, 'usage')
  from pg_catalog.pg_roles r
"""

_ROLES_BEFORE_16 = """
select r.rolname::text, r.rolsuper, r.oid = 10,
       pg_catalog.pg_has_role(r.oid, 'member') and pg_catalog.pg_has_role(r.oid, 'usage')
  from pg_catalog.pg_roles r
"""

_HAVE_RIGHTS_OF = """
select grantor.rolname::text, other.rolname::text
  from pg_catalog.pg_roles grantor, pg_catalog.pg_roles other
 where grantor.rolname = any (%(grantors)s::text[]) and grantor.oid <> other.oid
   and pg_catalog.pg_has_role(grantor.oid, other.oid, 'usage')
"""

_CURRENT = "select current_user::text, pg_catalog.current_database()::text"

_MEMBERSHIP_OPTIONS_SINCE = 160000


@dataclass(frozen=True, slots=True)
class TargetNames:
    """The target's roles as seen from the source's."""

    current_role: str
    database: str
    is_superuser: bool
    """Whether the session's role is one."""

    has_membership_options: bool
    """GRANT role … WITH INHERIT, SET."""

    roles: frozenset[str]
    superusers: frozenset[str]
    bootstrap: str
    acts_as: frozenset[str]
    """Roles in whose name the session may grant."""

    have_rights_of: frozenset[tuple[str, str]]
    """Grantors with the roles whose rights they have: what such a one grants is that other role's grant."""

    stand_ins: Mapping[str, str]
    """Names of the source to names of the target, where they differ."""

    def of(self, name: str) -> str | None:
        """The target's name for a role of the source; None where it has none."""
        stand_in = self.stand_ins.get(name, name)
        if stand_in not in self.roles:
            return None
        # Nobody but a superuser can give anything to a superuser, or act as one.
        if stand_in in self.superusers and not self.is_superuser:
            return self.current_role
        return stand_in


def read_names(target: Session, stand_ins: Mapping[str, str], grantors: Collection[str]) -> TargetNames:
    """Read the target's roles.

    Args:
        target: On the target.
        stand_ins: Names of roles of the source, and which role takes their place on the target, such as the
            provider's administrators.
        grantors: Roles of the source that granted something they do not own.

    Raises:
        EngineError: They could not be read.
    """
    has_options = target.info.server_version >= _MEMBERSHIP_OPTIONS_SINCE
    try:
        current = target.execute(_CURRENT).fetchone()
        roles = target.execute(_ROLES_SINCE_16 if has_options else _ROLES_BEFORE_16).fetchall()
        inheriting = target.execute(
            _HAVE_RIGHTS_OF, {"grantors": [stand_ins.get(name, name) for name in grantors]}
        ).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading its roles") from None
    assert current is not None  # A query without FROM has one row.
    superusers = frozenset(str(name) for name, is_superuser, _, _ in roles if is_superuser)
    return TargetNames(
        current_role=str(current[0]),
        database=str(current[1]),
        is_superuser=str(current[0]) in superusers,
        has_membership_options=has_options,
        roles=frozenset(str(row[0]) for row in roles),
        superusers=superusers,
        bootstrap=next((str(row[0]) for row in roles if row[2]), ""),
        acts_as=frozenset(str(row[0]) for row in roles if row[3]),
        have_rights_of=frozenset((str(grantor), str(other)) for grantor, other in inheriting),
        stand_ins=stand_ins,
    )
