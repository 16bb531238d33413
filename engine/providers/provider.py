"""What is known of a provider, as its file says it. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NEEDS_RESTART: Mapping[str, bool] = MappingProxyType(
    {
        "wal_level": True,
        "max_wal_senders": True,
        "max_replication_slots": True,
        "max_locks_per_transaction": True,
        "max_connections": True,
        "max_slot_wal_keep_size": False,
        "idle_replication_slot_timeout": False,
    }
)
"""The settings of PostgreSQL that a provider's file may say something about, and whether a new value counts
only from the server's next start on (PostgreSQL 20)."""

RIGHTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "replication": frozenset(),
        "ownership": frozenset({"owner"}),
        "read_tables": frozenset({"schema"}),
        "bypass_row_security": frozenset(),
        "create_in_database": frozenset(),
        "replica_role": frozenset(),
        "see_sessions": frozenset(),
        "extension": frozenset({"extension"}),
    }
)
"""The rights that a file may tell how to give, and what of each stands in its text beside role, database and
instance: a table's owner, a schema, an extension."""

SELF_HOSTED = "self_hosted"
"""The name of what is no provider at all; its file holds what plain PostgreSQL would do."""


@dataclass(frozen=True, slots=True)
class Change:
    """How something is changed at a provider. Texts hold names in braces, such as ``{value}``."""

    sql: tuple[str, ...] = ()
    """Statements without semicolon, each run by itself; empty where SQL cannot do it."""

    console: str = ""
    """The path through the provider's web pages."""

    cli: str = ""
    """One command for a shell."""

    words: str = ""
    """What else there is to say, or all there is."""

    parameter: str = "{setting}"
    """What the provider calls the setting."""

    value: str = "{wanted}"
    """How the provider writes the value."""

    restart: bool | None = None
    """Whether it counts only after a restart; None: as PostgreSQL itself has it."""

    impossible: str = ""
    """Why it cannot be changed there; empty where it can."""


@dataclass(frozen=True, slots=True)
class Signs:
    """By what a provider's server is known; glob patterns unless said otherwise."""

    hosts: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """Whole names, in pg_catalog."""

    words: tuple[str, ...] = ()
    """Parts of what version() says."""

    all_of: tuple[str, ...] = ()
    """Kinds of signs, named as the fields above, that count only together."""

    over: tuple[str, ...] = ()
    """Providers whose signs this one's servers carry as well."""

    gives_superuser: bool = False
    """Whether customers may be superuser. Where not, a superuser's session is on another's server, into which
    roles and schemas were restored."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """Addresses behind which there is no server but a pooler."""

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    direct: str = ""
    """Where the direct address is found."""

    hides_process: bool = False
    """Whether the direct address, too, is answered by a proxy that makes up the server's process id."""


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Glob patterns of what is the provider's own and is not migrated."""

    roles: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restart:
    """How the server is restarted there."""

    words: str
    cli: str = ""


@dataclass(frozen=True, slots=True)
class Trap:
    """What goes wrong at this provider that no query shows."""

    found: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Duty:
    """What a provider means for one side of a migration."""

    impossible: str = ""
    """Why its servers cannot be on this side at all; empty where they can."""

    instead: str = ""
    """What to do instead; only with ``impossible``."""

    traps: tuple[Trap, ...] = ()


@dataclass(frozen=True, slots=True)
class MigrationRole:
    """What is different about a role that is made for the migration on the source."""

    replication_role: str = ""
    """The role that stands there for the attribute REPLICATION; empty where the attribute is given."""

    sees_password: bool = False
    """Whether CREATE ROLE has to name the password itself, because one that is already hashed is refused."""

    superuser_publishes_chunks: bool = False
    """Whether the role becomes a superuser where the source has TimescaleDB: a table may be published only by
    its owner or a superuser, and chunks are made on the fly."""

    words: str = ""
    """What a person should know before the role is made; without a full stop."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One file of ``engine/providers``."""

    name: str
    """The file's name, and what ``--provider`` takes."""

    title: str
    summary: str
    """What its owner may and may not do, in a sentence or two."""

    admin_role: str
    """The role that may do what a superuser does elsewhere; empty where there is none."""

    instance_pattern: str
    """Regular expression whose first group is the instance's name in the host name; empty: not there."""

    instance_name: str
    """What stands in commands where the host does not tell."""

    signs: Signs
    pooler: Pooler
    leave_out: LeaveOut
    restart: Restart
    storage: str
    """Where the free disk space is seen."""

    source: Duty
    target: Duty
    migration_role: MigrationRole
    settings: Mapping[str, Change]
    """Every name of :data:`NEEDS_RESTART`."""

    rights: Mapping[str, Change]
    """Every name of :data:`RIGHTS`."""
