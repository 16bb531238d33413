"""Compares the roles of the source with the target's and writes what is missing (seed §2, ``roles.sql``)."""

from __future__ import annotations

from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.connection.secret import Secret
from engine.connection.session import Session
from engine.errors import Side
from engine.roles.attributes import attribute_changes, attributes_of, refused_attributes
from engine.roles.catalog import Role, RoleCatalog, read_roles
from engine.roles.memberships import plan_memberships
from engine.roles.planned import RoleFilter, RolePlan, RoleReview, Standing
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement, placeholder

FILE_NAME = "roles.sql"

_ANOTHER_PASSWORD = "another password; the target's is kept"


def plan_roles(source: Session, target: Session, chosen: RoleFilter) -> RolePlan:
    """Find what makes the target's roles those of the source, and leaves out what the target refuses.

    Roles of the target are never dropped, no membership or attribute is taken from a role that the source
    does not have, and a password that the target has is never replaced.

    Args:
        source: On the source; what it stores of passwords is carried over when this role may read it.
        target: In autocommit mode; attributes are tried there in a transaction that is rolled back.
        chosen: Roles that are not the user's own.

    Raises:
        EngineError: One of them could not be read.
    """
    wanted = read_roles(source, Side.SOURCE)
    found = read_roles(target, Side.TARGET)
    left_out = {name: _left_out(name, chosen, found) for name in wanted.roles}
    names = [name for name, reason in left_out.items() if not reason]
    changes = {name: _changes(wanted.roles[name], found) for name in names}
    refused = refused_attributes(target, [word for words in changes.values() for word in words])
    memberships = plan_memberships(wanted, found, chosen)
    writer = _Writer(wanted, found, refused)
    reviews: list[RoleReview] = []
    for name, role in wanted.roles.items():
        if left_out[name]:
            if not name.startswith("pg_"):
                reviews.append(_review(role, wanted, Standing.LEFT_OUT, reason=left_out[name]))
            continue
        found_differences = (*writer.role(role, changes[name]), *memberships.differences.get(name, ()))
        # Grants of several grantors are told once.
        differences = tuple(dict.fromkeys(found_differences))
        standing = Standing.SAME if name in found.roles else Standing.MISSING
        if differences and standing is Standing.SAME:
            standing = Standing.DIFFERS
        reviews.append(_review(role, wanted, standing, differences=differences))
    notes = list(memberships.notes)
    if "" in refused:
        notes.append(f"The target does not let {found.current_role} make roles: {refused['']}")
    script = Script(
        FILE_NAME,
        "Roles of the source that the target lacks, and what differs",
        (*writer.statements, *memberships.statements),
        tuple(f"role {quote_identifier(one.name)}" for one in reviews if one.standing is Standing.SAME),
        tuple(notes),
        writer.secrets,
    )
    return RolePlan(script, tuple(reviews), wanted.passwords is not None, tuple(writer.creations))


def _left_out(name: str, chosen: RoleFilter, target: RoleCatalog) -> str:
    if name == target.current_role:
        return "the role that is used on the target"
    return chosen.reason(name)


def _changes(role: Role, target: RoleCatalog) -> tuple[str, ...]:
    existing = target.roles.get(role.name)
    return attributes_of(role) if existing is None else attribute_changes(role, existing)


def _review(
    role: Role,
    source: RoleCatalog,
    standing: Standing,
    differences: tuple[str, ...] = (),
    reason: str = "",
) -> RoleReview:
    return RoleReview(
        role.name,
        standing,
        attributes_of(role),
        tuple(dict.fromkeys(one.role for one in source.memberships if one.member == role.name)),
        differences,
        reason,
        standing is Standing.MISSING and role.logs_in and source.passwords is None,
    )


class _Writer:
    """Collects the statements, with the passwords in them apart."""

    def __init__(self, source: RoleCatalog, target: RoleCatalog, refused: dict[str, str]) -> None:
        self._source = source
        self._target = target
        self._refused = refused
        self.statements: list[ScriptStatement] = []
        self.secrets: dict[str, Secret] = {}
        self.creations: list[tuple[str, str]] = []

    def role(self, role: Role, words: tuple[str, ...]) -> tuple[str, ...]:
        """Add what makes one role; what is different now."""
        existing = self._target.roles.get(role.name)
        shown = quote_identifier(role.name)
        name = sql.Identifier(role.name).as_string()
        given = [word for word in words if word not in self._refused]
        differences: list[str] = []
        if existing is None:
            password = self._password(role.name)
            clause = " ".join([*given, *([f"PASSWORD {password}"] if password else [])])
            about = f"role {shown}: missing on the target"
            if not password and role.logs_in and self._source.passwords is None:
                about += "; the source hides its password, so it gets none"
            statement = f"CREATE ROLE {name}{' WITH ' if clause else ''}{clause}"
            self.statements.append(ScriptStatement(about, statement))
            self.creations.append((about, role.name))
        elif given:
            self.statements.append(
                ScriptStatement(
                    f"role {shown}: has other attributes on the target",
                    f"ALTER ROLE {name} WITH {' '.join(given)}",
                )
            )
            differences += [f"to be {word}" for word in given]
        for word in words:
            if word in self._refused:
                self.statements.append(
                    ScriptStatement(
                        f"role {shown}: {word}", f"ALTER ROLE {name} WITH {word}", self._refused[word]
                    )
                )
                differences.append(f"{word} is refused by the target")
        if existing is not None and self._has_another_password(role.name):
            differences.append(_ANOTHER_PASSWORD)
        if role.comment is not None and role.comment != (existing and existing.comment):
            self.statements.append(
                ScriptStatement(
                    f"role {shown}: its comment", f"COMMENT ON ROLE {name} IS {literal(role.comment)}"
                )
            )
            if existing is not None:
                differences.append("another comment")
        return tuple(differences)

    def _password(self, name: str) -> str:
        """The literal that stands for a role's password; empty when it has none or it is hidden."""
        if self._source.passwords is None or name not in self._source.passwords:
            return ""
        hidden = placeholder(len(self.secrets) + 1)
        self.secrets[hidden] = Secret(literal(self._source.passwords[name].reveal()))
        return literal(hidden)

    def _has_another_password(self, name: str) -> bool:
        if self._source.passwords is None or self._target.passwords is None:
            return False
        return self._source.passwords.get(name) != self._target.passwords.get(name)
