"""The attributes of a role as words of CREATE ROLE, and which of them a target refuses."""

from __future__ import annotations

import secrets
from collections.abc import Collection

import psycopg
from psycopg import sql

from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import Side
from engine.roles.catalog import Role
from engine.script.masking import literal

_FLAGS: tuple[tuple[str, str, bool], ...] = (
    ("superuser", "SUPERUSER", False),
    ("inherits", "INHERIT", True),
    ("creates_roles", "CREATEROLE", False),
    ("creates_databases", "CREATEDB", False),
    ("logs_in", "LOGIN", False),
    ("replicates", "REPLICATION", False),
    ("bypasses_rls", "BYPASSRLS", False),
)
"""Field, word, and what CREATE ROLE makes it when it is not named."""

_NO_LIMIT = -1
_FOREVER = "infinity"


def attributes_of(role: Role) -> tuple[str, ...]:
    """What CREATE ROLE has to say of ``role``: each attribute that is not the default, without a password."""
    return tuple(_differing(role, None))


def attribute_changes(wanted: Role, found: Role) -> tuple[str, ...]:
    """What ALTER ROLE has to say so that ``found`` becomes ``wanted``."""
    return tuple(_differing(wanted, found))


def _differing(wanted: Role, found: Role | None) -> list[str]:
    words = []
    for field, word, default in _FLAGS:
        value = bool(getattr(wanted, field))
        if value != (default if found is None else bool(getattr(found, field))):
            words.append(word if value else f"NO{word}")
    if wanted.connection_limit != (_NO_LIMIT if found is None else found.connection_limit):
        words.append(f"CONNECTION LIMIT {wanted.connection_limit}")
    # No limit and infinity are the same, and there is no way back to the first.
    until, was = wanted.valid_until, None
    if found is not None:
        until, was = until or _FOREVER, found.valid_until or _FOREVER
    if until is not None and until != was:
        words.append(f"VALID UNTIL {literal(until)}")
    return words


def refused_attributes(target: Session, words: Collection[str]) -> dict[str, str]:
    """Find by trying which attributes the target lets our role give, and leave nothing behind.

    Managed servers refuse SUPERUSER, most REPLICATION and BYPASSRLS, some CREATEROLE or a validity; how they
    do it differs from hooks to patched servers, so nothing but trying tells.

    Args:
        target: In autocommit mode.
        words: As :func:`attributes_of` has them.

    Returns:
        Of each that is refused, what PostgreSQL said. The empty word stands for CREATE ROLE itself.

    Raises:
        EngineError: The session was lost.
    """
    name = sql.Identifier(f"livesync_probe_{secrets.token_hex(8)}")
    refused: dict[str, str] = {}
    try:
        target.execute("begin; savepoint probe")
        for word in ("", *sorted(set(words))):
            try:
                target.execute(sql.SQL("create role {} {}").format(name, sql.SQL(word)))
            except psycopg.Error as error:
                if target.closed or is_connection_loss(error):
                    raise
                refused[word] = message_of(error)
                if not word:
                    break
            finally:
                if not target.closed:
                    target.execute("rollback to savepoint probe")
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "trying what roles may be given") from None
    finally:
        if not target.closed:
            target.rollback()
    return refused
