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

    service: str = ""
    """Section of the service file (PostgreSQL 34.17), which then holds what is empty here."""

    def __str__(self) -> str:
        if not self.service:
            user = f"{self.user}@" if self.user else ""
            is_ipv6 = ":" in self.host and "," not in self.host
            return f"{user}{f'[{self.host}]' if is_ipv6 else self.host}:{self.port}/{self.database}"
        parts = {"host": self.host, "port": self.port, "database": self.database, "user": self.user}
        over = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
        return f"service {self.service}{f' with {over}' if over else ''}"


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """A server as found by connecting to it."""

    side: Side
    version: str
    """``server_version``, such as ``16.10``."""

    version_number: int
    """``server_version_num``, such as ``160010``."""

    host: str
    """As libpq has it, wherever from: string, service file, environment; a folder for a local socket."""

    database: str
    user: str
    is_standby: bool
    is_superuser: bool
    can_replicate: bool
    uses_tls: bool
    tls_version: str | None
    """Such as ``TLSv1.3``; None without TLS, or where a proxy in front of the server ends it."""

    wal_level: str
    database_size_bytes: int
    round_trip_seconds: float
    system_identifier: str | None
    """``pg_control_system()``'s identifier, None where the role may not read it."""

    timescaledb_version: str | None

    @property
    def role_words(self) -> str:
        """What the role may, in two words."""
        if self.is_superuser:
            return "superuser"
        return "may replicate" if self.can_replicate else "plain role"
