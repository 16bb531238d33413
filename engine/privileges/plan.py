"""Ownership and privileges of all objects: what the target lacks to have the source's (seed §3.6).

Both sides are read from their catalogs and compared as single rights, so that only differences are written:
grants in the name of who gave them, revokes of what PUBLIC has by default, columns, default privileges.

An object's new owner takes over the old one's part of its list, so lists are compared as they will be then.
What only the target's roles have is left alone, and so is what PostgreSQL or an extension made, but for what
was changed on the source since.

Unless it is a superuser, the role that runs the script becomes a member of the owners. That lets it give them
what is theirs, and go on writing to it; :mod:`engine.privileges.stepping_back` ends it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.connection.session import Session
from engine.errors import Side
from engine.privileges.acl import PUBLIC, Acl, Change, Right, changes, only, reowned, translated
from engine.privileges.catalog import (
    DefaultKey,
    ObjectKey,
    ObjectRights,
    RightsCatalog,
    read_rights,
)
from engine.privileges.names import TargetNames, read_names
from engine.script.planned import Script, ScriptStatement

FILE_NAME = "privileges.sql"

_DEFAULTS_OF = {
    "r": ("r", "TABLES"),
    "S": ("s", "SEQUENCES"),
    "f": ("f", "FUNCTIONS"),
    "T": ("T", "TYPES"),
    "n": ("n", "SCHEMAS"),
    "L": ("L", "LARGE OBJECTS"),
}
"""By ``defaclobjtype``: ``acldefault``'s letter, and the word of ALTER DEFAULT PRIVILEGES."""

_ABSENT_IS_EMPTY = ("c", "p")
"""Columns and parameters are in the catalog only once something was granted."""

_NEEDLESS_QUOTES = re.compile(r'(?<!")"([a-z_][a-z0-9_]*)"(?!")')

_FIRST = ("DATABASE", "SCHEMA")
"""What has to be in order before the objects in it."""


def plan_privileges(
    source: Session,
    target: Session,
    stand_ins: Mapping[str, str] | None = None,
    *,
    not_told: Collection[str] = (),
) -> Script:
    """Find what makes owners and privileges of the target those of the source.

    The roles and the schema have to be on the target already: what is not is told in the script's notes.

    Args:
        source: On the source.
        target: On the target, as the role that will run the script.
        stand_ins: Names of roles of the source, and which role takes their place on the target.
        not_told: Roles of the source that are not missed on the target, such as the migration's own.

    Raises:
        EngineError: One of them could not be read.
    """
    wanted = read_rights(source, Side.SOURCE, unchanged_too=False)
    has_system = any(rights.is_system for rights in wanted.objects.values())
    found = read_rights(target, Side.TARGET, unchanged_too=has_system)
    writer = _Writer(wanted, found, read_names(target, stand_ins or {}, _grantors(wanted)), not_told)
    keys = sorted(wanted.objects, key=lambda key: (_order(key), key.kind, key.identity, key.part))
    for kinds in (True, False):
        part = [key for key in keys if (key.kind in _FIRST) is kinds]
        for key in part:
            writer.owner(key)
        for key in part:
            writer.privileges(key)
        writer.columns(part)
        if kinds:
            writer.end_first_part()
    writer.default_privileges()
    return writer.script()


def _grantors(catalog: RightsCatalog) -> set[str]:
    """Who granted something that is not his own."""
    return {
        right.grantor
        for rights in catalog.objects.values()
        for right in rights.acl or ()
        if right.grantor != rights.owner
    }


def _order(key: ObjectKey) -> int:
    return _FIRST.index(key.kind) if key.kind in _FIRST else len(_FIRST)


class _Writer:
    """Collects statements and notes."""

    def __init__(
        self, wanted: RightsCatalog, found: RightsCatalog, names: TargetNames, not_told: Collection[str]
    ) -> None:
        self._wanted = wanted
        self._found = found
        self._names = names
        self._not_told = frozenset(not_told)
        self._statements: list[ScriptStatement] = []
        self._compared: set[ObjectKey] = set()
        self._different: set[ObjectKey] = set()
        self._missing_objects: list[ObjectKey] = []
        self._missing_roles: Counter[str] = Counter()
        self._unknown_privileges: Counter[str] = Counter()
        self._acted_as: set[str] = set()
        self._creators: dict[str, set[str]] = {}
        self._newcomers: set[tuple[str, str]] = set()
        self._first_part = 0
        # Roles that only the target has are its own business.
        self._carried = {names.of(name) for name in wanted.roles} | {PUBLIC}

    def script(self) -> Script:
        helped = sorted(
            name
            for name in self._acted_as - self._names.acts_as - self._names.superusers
            # PostgreSQL's own roles take no members, or none that should be.
            if not name.startswith("pg_")
        )
        me = sql.Identifier(self._names.current_role).as_string()
        options = " WITH INHERIT TRUE, SET TRUE" if self._names.has_membership_options else ""
        before = [
            ScriptStatement(
                f"role {quote_identifier(name)}: only its members may act for it, until the migration ends",
                f"GRANT {sql.Identifier(name).as_string()} TO {me}{options}",
            )
            for name in helped
        ]
        same = len({ObjectKey(key.kind, key.identity) for key in self._compared - self._different})
        return Script(
            FILE_NAME,
            "Owners and privileges that differ from the source",
            (
                *before,
                *self._statements[: self._first_part],
                *self._let_in("GRANT", "TO", "makes room for what is to be its own; taken back at the end"),
                *self._statements[self._first_part :],
                *self._let_in("REVOKE", "FROM", "no longer makes things there"),
            ),
            (f"{same} objects with owner and privileges",) if same else (),
            self._notes(),
        )

    def end_first_part(self) -> None:
        """What follows is in schemas that are in order."""
        self._first_part = len(self._statements)

    def _let_in(self, verb: str, preposition: str, about: str) -> list[ScriptStatement]:
        """For those who get something in a schema where they may not make anything.

        Unless a superuser gives it, ALTER … OWNER TO asks for CREATE on the schema, of the new owner.
        """
        if self._names.is_superuser:
            return []
        return [
            ScriptStatement(
                f"role {quote_identifier(owner)} in {_readable(schema)}: {about}",
                f"{verb} CREATE ON SCHEMA {schema} {preposition} {_quoted(owner)}",
            )
            for schema, owner in sorted(self._newcomers)
            if not {owner, PUBLIC} & self._creators.get(schema, set())
        ]

    def _notes(self) -> tuple[str, ...]:
        notes = [
            f"{count} owners or grants are of {quote_identifier(role)}, a role that the target does not have"
            for role, count in sorted(self._missing_roles.items())
            if role not in self._not_told
        ]
        notes += [
            f"{count} grants of {privilege}, which the target does not know"
            for privilege, count in sorted(self._unknown_privileges.items())
        ]
        large = [key for key in self._missing_objects if key.kind == "LARGE OBJECT"]
        others = [key for key in self._missing_objects if key.kind != "LARGE OBJECT"]
        if large:
            notes.append(
                f"{len(large)} large objects: replication leaves them out; plan again once they are copied"
            )
        if others:
            first = _shown(others[0], self._names)
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            notes.append(f"Not on the target: {first}{more}")
        return tuple(notes)

    def owner(self, key: ObjectKey) -> None:
        """Give an object to whom it belongs on the source."""
        wanted, found = self._wanted.objects[key], self._found.objects.get(key)
        if key.part or (found is None and wanted.acl_type in _ABSENT_IS_EMPTY):
            return
        if found is None:
            self._missing_objects.append(key)
            return
        self._compared.add(key)
        if not wanted.is_movable or not found.is_movable:
            return
        owner = self._names.of(wanted.owner)
        if owner is None:
            self._missing_roles[wanted.owner] += 1
            return
        if owner == found.owner:
            return
        self._different.add(key)
        apart = ""
        if key.kind == "DATABASE" and not self._names.is_superuser:
            apart = "the provider's role owns the database, and loses it with this"
        else:
            self._acted_as |= {owner, found.owner}
            if found.schema:
                self._newcomers.add((found.schema, owner))
        self._statements.append(
            ScriptStatement(
                f"{_shown(key, self._names)}: belongs to {quote_identifier(owner)}",
                f"ALTER {found.alter_kind} {self._identity(key)} OWNER TO {_quoted(owner)}",
                apart,
            )
        )

    def _identity(self, key: ObjectKey) -> str:
        return _quoted(self._names.database) if key.kind == "DATABASE" else key.identity

    def _future_owner(self, key: ObjectKey, wanted: ObjectRights, found: ObjectRights) -> str:
        """Who owns the object once the script's first part has run."""
        whole = ObjectKey(key.kind, key.identity)
        if key.part and whole in self._wanted.objects:
            wanted, found = self._wanted.objects[whole], self._found.objects[whole]
        if key.kind == "DATABASE" and not self._names.is_superuser:
            return found.owner
        follows_table = key.kind == "SEQUENCE" and not wanted.is_movable and not found.is_movable
        if follows_table or (wanted.is_movable and found.is_movable):
            return self._names.of(wanted.owner) or found.owner
        return found.owner

    def columns(self, keys: list[ObjectKey]) -> None:
        """Revoke what is granted on columns of the target only."""
        wanted = frozenset(keys)
        for key, found in self._found.objects.items():
            whole = ObjectKey(key.kind, key.identity)
            if key.part and key not in wanted and whole in wanted and not found.is_system:
                owner = self._wanted.objects[whole].owner
                self._change(key, ObjectRights("", "", "c", owner, False, False, None, None))

    def privileges(self, key: ObjectKey) -> None:
        """Grant and revoke what differs on one object."""
        self._change(key, self._wanted.objects[key])

    def _change(self, key: ObjectKey, wanted: ObjectRights) -> None:
        whole = self._found.objects.get(ObjectKey(key.kind, key.identity))
        found = self._found.objects.get(key)
        if wanted.acl_type == "-" or (whole is None and wanted.acl_type != "p"):
            return
        if found is None:
            owner = whole.owner if whole is not None else self._names.bootstrap
            found = ObjectRights(
                "", wanted.schema, wanted.acl_type, owner, False, wanted.is_system, None, None
            )
        owner = self._future_owner(key, wanted, found)
        now = reowned(self._effective(self._found, found), found.owner, owner)
        should = self._expected(wanted, found, now, owner)
        if key.kind == "SCHEMA":
            self._creators[key.identity] = {right.grantee for right in should if right.privilege == "CREATE"}
        known = self._wanted.known(wanted.acl_type) & self._found.known(wanted.acl_type)
        for right in should:
            if right.privilege not in self._found.known(wanted.acl_type) and right.grantee != owner:
                self._unknown_privileges[right.privilege] += 1
        for change in changes(only(should, known), only(now, known), owner, self._is_carried):
            self._different.add(ObjectKey(key.kind, key.identity))
            self._acted_as.add(change.grantor)
            self._statements.append(
                ScriptStatement(
                    f"{_shown(key, self._names)}: {_said(change)}",
                    self._statement(key, change, owner),
                )
            )

    def _expected(self, wanted: ObjectRights, found: ObjectRights, now: Acl, owner: str) -> Acl:
        should = self._named(self._effective(self._wanted, wanted), wanted.owner, owner)
        if not wanted.is_system:
            return should
        # What was changed since PostgreSQL or the extension made it, done to what the target has.
        initial = wanted.initial
        if initial is None:
            initial = self._wanted.default(wanted.acl_type, wanted.owner)
        began = self._named(initial, wanted.owner, owner)
        kept = {right: grantable for right, grantable in now.items() if right in should or right not in began}
        added = {right: grantable for right, grantable in should.items() if began.get(right) is not grantable}
        return {**kept, **added}

    def _effective(self, catalog: RightsCatalog, rights: ObjectRights) -> Acl:
        return rights.acl if rights.acl is not None else catalog.default(rights.acl_type, rights.owner)

    def _named(self, acl: Acl, old_owner: str, new_owner: str) -> dict[Right, bool]:
        """A list of the source with the target's names."""

        def grantor(name: str) -> str:
            # A grant whose grantor is not there, or has the owner's rights by now, is as good from the owner.
            giver = self._names.of(name)
            if name == old_owner or giver is None or (giver, new_owner) in self._names.have_rights_of:
                return new_owner
            return giver

        def grantee(name: str) -> str | None:
            if name == old_owner:
                return new_owner
            receiver = self._names.of(name)
            if receiver is None:
                self._missing_roles[name] += 1
            return receiver

        return translated(acl, grantor, grantee)

    def _is_carried(self, grantee: str) -> bool:
        return grantee in self._carried

    def _statement(self, key: ObjectKey, change: Change, owner: str) -> str:
        column = f" ({key.part})" if key.part else ""
        privileges = ", ".join(f"{privilege}{column}" for privilege in change.privileges)
        statement = _grant_or_revoke(change, f"{privileges} ON {key.kind} {self._identity(key)}")
        if change.grantor == owner:
            return statement
        # Only the current role may be named as grantor, so a SET ROLE that was refused makes this fail
        # instead of granting in our own name.
        grantor = _quoted(change.grantor)
        return f"SET ROLE {grantor};\n{statement} GRANTED BY {grantor};\nRESET ROLE"

    def default_privileges(self) -> None:
        """ALTER DEFAULT PRIVILEGES for each role, everywhere and by schema."""
        origins = {self._names.of(name): name for name in sorted(self._wanted.roles)}
        keys = set(self._wanted.default_privileges)
        for found_key in self._found.default_privileges:
            if found_key.role in origins:
                keys.add(DefaultKey(origins[found_key.role], found_key.schema, found_key.object_type))
        for key in sorted(keys, key=lambda one: (one.role, one.schema, one.object_type)):
            self._default_privileges(key)

    def _default_privileges(self, key: DefaultKey) -> None:
        role = self._names.of(key.role)
        if role is None:
            self._missing_roles[key.role] += 1
            return
        if key.schema and ObjectKey("SCHEMA", key.schema) not in self._found.objects:
            return
        letter, word = _DEFAULTS_OF[key.object_type]
        should = self._named(_defaults(self._wanted, key, letter), key.role, role)
        now = _defaults(self._found, DefaultKey(role, key.schema, key.object_type), letter)
        known = self._wanted.known(letter) & self._found.known(letter)
        where = f" IN SCHEMA {key.schema}" if key.schema else ""
        for change in changes(only(should, known), only(now, known), role, self._is_carried):
            self._acted_as.add(role)
            privileges = ", ".join(change.privileges)
            self._statements.append(
                ScriptStatement(
                    f"{word.lower()} that {quote_identifier(role)} makes"
                    f"{f' in {_readable(key.schema)}' if key.schema else ''}: {_said(change)}",
                    f"ALTER DEFAULT PRIVILEGES FOR ROLE {_quoted(role)}{where} "
                    + _grant_or_revoke(change, f"{privileges} ON {word}"),
                )
            )


def _defaults(catalog: RightsCatalog, key: DefaultKey, letter: str) -> Acl:
    existing = catalog.default_privileges.get(key)
    if existing is not None:
        return existing
    # Those of a schema come on top of those for everywhere, so there they begin with nothing.
    return {} if key.schema else catalog.default(letter, key.role)


def _grant_or_revoke(change: Change, what: str) -> str:
    grantee = "PUBLIC" if change.grantee == PUBLIC else _quoted(change.grantee)
    if change.is_grant:
        return f"GRANT {what} TO {grantee}{' WITH GRANT OPTION' if change.option else ''}"
    return f"REVOKE {'GRANT OPTION FOR ' if change.option else ''}{what} FROM {grantee}"


def _said(change: Change) -> str:
    grantee = "everybody" if change.grantee == PUBLIC else quote_identifier(change.grantee)
    privileges = ", ".join(change.privileges)
    if change.is_grant:
        return f"{privileges} for {grantee}{', to grant on' if change.option else ''}"
    return f"{'granting on ' if change.option else ''}{privileges} no longer for {grantee}"


def _shown(key: ObjectKey, names: TargetNames) -> str:
    identity = quote_identifier(names.database) if key.kind == "DATABASE" else _readable(key.identity)
    part = f".{_readable(key.part)}" if key.part else ""
    return f"{'column' if key.part else key.kind.lower()} {identity}{part}"


def _readable(identity: str) -> str:
    """SQL in which every name is quoted, without the quotes that a person would not write."""
    return _NEEDLESS_QUOTES.sub(r"\1", identity)


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()
