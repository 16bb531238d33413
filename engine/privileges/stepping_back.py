"""Ends what the script of privileges began for a role that is no superuser: membership in the owners' roles.

Rows are copied, indexes built, tables analyzed and sequences set after the owners have got what is theirs,
by a role that may do so as their member only. So it stays one until the migration is cleaned up.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.script.planned import Script, ScriptStatement

FILE_NAME = "stepping_back.sql"

_ROLES = "select r.rolname::text from pg_catalog.pg_roles r"

_OF_OURSELVES = """
select role.rolname::text, me.rolname::text
  from pg_catalog.pg_auth_members m
  join pg_catalog.pg_roles role on role.oid = m.roleid
  join pg_catalog.pg_roles me on me.oid = m.member
 where m.member = m.grantor and me.rolname = current_user
 order by 1
"""


def plan_stepping_back(
    source: Session, target: Session, stand_ins: Mapping[str, str] | None = None
) -> Script:
    """Find the memberships that the target's role gave to itself, in roles that came from the source.

    Args:
        source: On the source.
        target: On the target, as the role that ran the script of privileges.
        stand_ins: As :func:`engine.privileges.plan.plan_privileges` had them.

    Raises:
        EngineError: One of them could not be read.
    """
    try:
        carried = {str(name) for (name,) in source.execute(_ROLES)}
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its roles") from None
    carried |= {of_target for of_source, of_target in (stand_ins or {}).items() if of_source in carried}
    try:
        memberships = target.execute(_OF_OURSELVES).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading what its role is a member of") from None
    return Script(
        FILE_NAME,
        "Memberships that were needed to work for the owners",
        tuple(
            ScriptStatement(
                f"role {quote_identifier(str(role))}: no longer acted for",
                f"REVOKE {sql.Identifier(str(role)).as_string()} FROM {sql.Identifier(str(me)).as_string()}",
            )
            for role, me in memberships
            if role in carried
        ),
    )
