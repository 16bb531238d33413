"""Which role is a member of which, and with what options (GRANT role TO role).

Before PostgreSQL 16 a membership has one option (ADMIN), a member's own INHERIT says whether it has the
role's rights, and the grantor means nothing. Since 16 each grantor's grant is one of its own with INHERIT and
SET, and a grantor needs ADMIN, so the order counts. A grantor is kept where both servers know it and the
target's role may name one, that is a superuser; else grants are the target role's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.roles.catalog import MEMBERSHIP_OPTIONS_SINCE, Membership, Role, RoleCatalog
from engine.roles.planned import RoleFilter
from engine.script.planned import ScriptStatement


@dataclass(frozen=True, slots=True)
class _Grant:
    role: str
    member: str
    grantor: str
    """Empty when it is not named."""


@dataclass(frozen=True, slots=True)
class _Options:
    admin: bool
    inherits: bool
    sets: bool

    def __or__(self, other: _Options) -> _Options:
        return _Options(self.admin or other.admin, self.inherits or other.inherits, self.sets or other.sets)


@dataclass(frozen=True, slots=True)
class MembershipPlan:
    """What memberships are missing."""

    statements: tuple[ScriptStatement, ...]
    differences: Mapping[str, tuple[str, ...]]
    """Of each member, what is not the same on the target."""

    notes: tuple[str, ...]


def plan_memberships(source: RoleCatalog, target: RoleCatalog, chosen: RoleFilter) -> MembershipPlan:
    """Find the memberships that the target lacks.

    Nothing is taken away: a membership that only the target has is told in the notes.

    Args:
        source: As read.
        target: As read.
        chosen: Roles that are carried over.
    """
    has_options = target.version_number >= MEMBERSHIP_OPTIONS_SINCE
    keeps_grantors = has_options and target.is_superuser and source.version_number >= MEMBERSHIP_OPTIONS_SINCE
    arriving = {name for name in source.roles if not chosen.reason(name)} | set(target.roles)
    members = {name for name in source.roles if not chosen.reason(name) and name != target.current_role}
    wanted = _grants(
        [one for one in source.memberships if one.member in members],
        source.roles,
        arriving if keeps_grantors else frozenset(),
    )
    found = _grants(target.memberships, target.roles, arriving if keeps_grantors else frozenset())
    statements: list[ScriptStatement] = []
    differences: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for grant in _in_order(wanted):
        options, existing = wanted[grant], found.get(grant)
        if not has_options:
            lost = _lost(options, source.roles[grant.member])
            if lost:
                notes.append(
                    f"{_said(grant)} {lost} on the source, which a target before PostgreSQL 16 does not know"
                )
            options = _Options(options.admin, source.roles[grant.member].inherits, True)
            if existing is not None:
                existing = _Options(existing.admin, options.inherits, True)
        if options == existing or (
            existing is not None and not keeps_grantors and options | existing == existing
        ):
            if options != existing:
                notes.append(f"{_said(grant)} with more options on the target than on the source")
            continue
        statement = ScriptStatement(
            f"role {quote_identifier(grant.member)}: member of {quote_identifier(grant.role)}",
            _statement(grant, options, existing, source.roles[grant.member], has_options),
            _why_apart(grant, chosen, target),
        )
        statements.append(statement)
        differences[grant.member] = (
            *differences.get(grant.member, ()),
            f"not a member of {quote_identifier(grant.role)}"
            if existing is None
            else f"member of {quote_identifier(grant.role)} with other options",
        )
    there = {(grant.role, grant.member) for grant in wanted}
    notes.extend(
        f"{_said(grant)} on the target only"
        for grant in sorted(found, key=lambda one: (one.member, one.role))
        if (grant.role, grant.member) not in there and {grant.role, grant.member} <= members
    )
    return MembershipPlan(tuple(statements), differences, tuple(dict.fromkeys(notes)))


def _grants(
    memberships: Collection[Membership], roles: Mapping[str, Role], grantors: Collection[str]
) -> dict[_Grant, _Options]:
    grants: dict[_Grant, _Options] = {}
    for one in memberships:
        grantor = one.grantor if one.grantor in grantors else ""
        options = _Options(
            one.admin,
            roles[one.member].inherits if one.inherits is None else one.inherits,
            True if one.sets is None else one.sets,
        )
        key = _Grant(one.role, one.member, grantor or "")
        grants[key] = options | grants[key] if key in grants else options
    return grants


def _in_order(grants: Mapping[_Grant, _Options]) -> list[_Grant]:
    """Grants, each after one that gave its grantor the ADMIN option."""
    waiting = sorted(grants, key=lambda one: (one.grantor != "", one.role, one.member, one.grantor))
    ordered: list[_Grant] = []
    while waiting:
        admins = {(one.role, one.member) for one in ordered if grants[one].admin}
        ready = [one for one in waiting if not one.grantor or (one.role, one.grantor) in admins]
        # A grantor may have ADMIN from what is on the target already.
        ordered += ready or waiting
        waiting = [one for one in waiting if one not in ordered]
    return ordered


def _lost(options: _Options, member: Role) -> str:
    parts = []
    if options.inherits != member.inherits:
        parts.append(f"INHERIT {str(options.inherits).upper()}")
    if not options.sets:
        parts.append("SET FALSE")
    return f"with {', '.join(parts)}" if parts else ""


def _statement(
    grant: _Grant, options: _Options, existing: _Options | None, member: Role, has_options: bool
) -> str:
    words = []
    if not has_options:
        words += ["ADMIN OPTION"] if options.admin else []
    else:
        if options.admin or existing is not None:
            words.append(f"ADMIN {str(options.admin).upper()}")
        if options.inherits != member.inherits or existing is not None:
            words.append(f"INHERIT {str(options.inherits).upper()}")
        if not options.sets or existing is not None:
            words.append(f"SET {str(options.sets).upper()}")
    statement = sql.SQL("GRANT {} TO {}").format(sql.Identifier(grant.role), sql.Identifier(grant.member))
    text = statement.as_string()
    if words:
        text += f" WITH {', '.join(words)}"
    if grant.grantor:
        text += f" GRANTED BY {sql.Identifier(grant.grantor).as_string()}"
    return text


def _why_apart(grant: _Grant, chosen: RoleFilter, target: RoleCatalog) -> str:
    reason = chosen.reason(grant.role)
    if not reason or (grant.role in target.roles and grant.role.startswith("pg_")):
        return ""
    return f"{quote_identifier(grant.role)} is {reason}"


def _said(grant: _Grant) -> str:
    return f"{quote_identifier(grant.member)} is a member of {quote_identifier(grant.role)}"
