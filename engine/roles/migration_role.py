"""The migration's own role on the source, as screens see it. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass

from engine.connection.secret import Secret
from engine.script.planned import Script

DEFAULT_NAME = "livesync_migrate"
"""The seed's name for it."""


@dataclass(frozen=True, slots=True)
class MigrationRoleWishes:
    """What the role has to be; the provider says most of it."""

    name: str = DEFAULT_NAME
    superuser: bool = False
    """Only for self-hosted TimescaleDB, where nobody else may publish chunks that are made on the fly."""

    replication_role: str = ""
    """The provider's role that stands for REPLICATION (``rds_replication``); empty for the attribute."""

    hashes_password: bool = True
    """Whether the server gets the password already hashed, so that it is in no log of the server. Some
    providers (Neon) want to see it."""

    words: str = ""
    """What a person should know before the role is made."""


@dataclass(frozen=True, slots=True)
class MigrationUserPlan:
    """What is missing before the role can do its work."""

    name: str
    already_there: bool
    """Whether the role existed when the plan was made."""

    script: Script
    """Without statements when nothing is missing."""

    password: Secret | None
    """To log in with after the script was applied; None for a role that was there, which keeps its own."""
