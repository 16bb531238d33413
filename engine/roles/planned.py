"""Roles as a person reviews them before they are carried over. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

from engine.script.planned import Script

_SYSTEM_PREFIX = "pg_"
"""Only PostgreSQL itself may make roles with such a name."""

_SYSTEM_NAMES = frozenset(("postgres",))
"""Who owns the cluster. A cluster made for another name (Docker's POSTGRES_USER) has an application's role
there, which is carried over like any other."""


@dataclass(frozen=True, slots=True)
class RoleFilter:
    """Which roles are not the user's own."""

    provider_patterns: tuple[str, ...] = ()
    """Names of the provider's roles, ``*`` and ``?`` as in a shell: ``rds*``, ``tsdbadmin``."""

    unwanted: frozenset[str] = frozenset()
    """Names that a person took out of the list."""

    ours: frozenset[str] = frozenset()
    """Names that were made for the migration itself."""

    def reason(self, name: str) -> str:
        """Why the role is left out; empty when it is not."""
        if name.startswith(_SYSTEM_PREFIX):
            return "a role of PostgreSQL itself"
        if name in _SYSTEM_NAMES:
            return "the owner of the cluster, which each server has of its own"
        if any(fnmatchcase(name, pattern) for pattern in self.provider_patterns):
            return "a role of the provider"
        if name in self.ours:
            return "the migration's own role"
        if name in self.unwanted:
            return "not wanted"
        return ""


class Standing(Enum):
    """How a role of the source stands on the target."""

    MISSING = "missing"
    DIFFERS = "differs"
    SAME = "same"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class RoleReview:
    """One role of the source."""

    name: str
    standing: Standing
    attributes: tuple[str, ...]
    """Its attributes on the source as CREATE ROLE has them, without the password: ``LOGIN``."""

    member_of: tuple[str, ...]
    """Names of the roles that it is a direct member of."""

    differences: tuple[str, ...] = ()
    """What is not the same on the target, also where nothing is done about it."""

    reason: str = ""
    """Why it is left out."""

    needs_password: bool = False
    """Whether it may log in and its password could not be read: somebody has to give it one on the target."""


@dataclass(frozen=True, slots=True)
class CreatedRole:
    """A role that this migration made. Only such a one is taken away again."""

    name: str
    oid: int
    """A role that somebody made later has another one, whatever its name."""


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What makes the target's roles those of the source."""

    script: Script
    roles: tuple[RoleReview, ...]
    """By name, all of the source but those that PostgreSQL itself has."""

    reads_passwords: bool
    """Whether the source lets our role read what it stores of passwords."""

    creations: tuple[tuple[str, str], ...] = ()
    """What the statements that make a role are about, each with the role's name."""
