"""What may be shown of a connection. Imports only the standard library, so screens may hold it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import Side


@dataclass(frozen=True, slots=True)
class EndpointSummary:
    """A connection string as parsed, without its password."""

    side: Side
    host: str
    port: str
    database: str
    user: str
    sslmode: str
    has_password: bool
    """Whether the string itself carries a password; libpq may still find one in ``~/.pgpass``."""

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """A server as found by connecting to it."""

    side: Side
    version: str
    """``server_version``, such as ``16.10``."""

    version_number: int
    """``server_version_num``, such as ``160010``."""

    database: str
    user: str
    is_standby: bool
    is_superuser: bool
    can_replicate: bool
    uses_tls: bool
    wal_level: str
    database_size_bytes: int
    round_trip_seconds: float
    system_identifier: str | None
    """``pg_control_system()``'s identifier, None where the role may not read it."""

    timescaledb_version: str | None
