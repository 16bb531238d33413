"""One side as the checks look at it: the session, whose server it is, and who says how to change it."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.providers.advice import Advisor
from engine.providers.detect import DetectedProvider, ServerTraits, detect_provider, read_traits
from engine.providers.load import matches_any

MINIMUM_SOURCE_VERSION = 130000
"""PostgreSQL 13 was the first to publish partitioned tables by their root."""

MINIMUM_TARGET_VERSION = 150000

_STANDING = """
select pg_catalog.quote_ident(current_user),
       pg_catalog.quote_ident(pg_catalog.current_database()),
       pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1),
       pg_catalog.pg_is_in_recovery()
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is being checked."""

    session: Session
    """In autocommit mode."""

    endpoint: Endpoint
    detected: DetectedProvider
    advisor: Advisor
    traits: ServerTraits
    version: str
    """``server_version``, such as ``16.10``."""

    is_standby: bool

    @property
    def side(self) -> Side:
        """Which of the two it is."""
        return self.endpoint.side

    @property
    def version_number(self) -> int:
        """``server_version_num``, such as ``160010``."""
        return self.session.info.server_version

    @property
    def role(self) -> str:
        """The session's role, unquoted."""
        return self.traits.role


def look_at(session: Session, endpoint: Endpoint, provider: str | None = None) -> Server:
    """See whose server ``session`` is on.

    Args:
        session: In autocommit mode.
        endpoint: What it was opened with.
        provider: The provider's name, when a person knows better.

    Raises:
        EngineError: The server could not be read, or there is no such provider.
    """
    traits = read_traits(session, endpoint)
    detected = detect_provider(traits, provider)
    try:
        row = session.execute(_STANDING).fetchone()
    except psycopg.Error as error:
        raise explain(error, endpoint.side, "looking at the server") from None
    assert row is not None  # A query without FROM has one row.
    role, database, version, is_standby = row
    advisor = Advisor(
        provider=detected.provider,
        host=traits.host,
        role=str(role),
        database=str(database),
        is_superuser=traits.is_superuser,
        is_admin=traits.is_superuser or detected.provider.admin_role in traits.member_of,
    )
    return Server(session, endpoint, detected, advisor, traits, str(version), bool(is_standby))


def check_server(server: Server) -> tuple[Finding, ...]:
    """Whose it is, what that means, its version, and whether it is what it has to be.

    Raises:
        EngineError: The server could not be read.
    """
    return (_provider(server), *_traps(server), *check_address(server))


def check_address(server: Server) -> tuple[Finding, ...]:
    """Whether the primary itself answers, and is new enough.

    Raises:
        EngineError: The server could not be read.
    """
    return (_direct_connection(server), _version(server), _standby(server))


def _provider(server: Server) -> Finding:
    provider = server.detected.provider
    found = f"{provider.title}: {'; '.join(server.detected.evidence)}"
    duty = provider.source if server.side is Side.SOURCE else provider.target
    if not duty.impossible:
        return ok("provider", server.side, found)
    return trouble(
        "provider", server.side, Verdict.BLOCKS, found, duty.impossible, remedy=by_hand(duty.instead)
    )


def _traps(server: Server) -> tuple[Finding, ...]:
    provider = server.detected.provider
    duty = provider.source if server.side is Side.SOURCE else provider.target
    return tuple(
        trouble(
            f"provider_{number}", server.side, Verdict.WARNING, trap.found, trap.why, remedy=by_hand(trap.fix)
        )
        for number, trap in enumerate(duty.traps, start=1)
    )


def _direct_connection(server: Server) -> Finding:
    check, info = "direct_connection", server.session.info
    pooler = server.detected.provider.pooler
    why = (
        "A pooler hands one session's statements to several server processes, or ends them when it likes: "
        "settings, snapshots and replication do not survive that"
    )
    direct = pooler.direct or "Use the host and port that the database itself listens on"
    if matches_any(info.host.lower(), pooler.hosts) or info.port in pooler.ports:
        found = f"{info.host} port {info.port} is a pooler of {server.detected.provider.title}"
        return trouble(check, server.side, Verdict.BLOCKS, found, why, remedy=by_hand(direct))
    pid = server.session.execute("select pg_catalog.pg_backend_pid()").fetchone()
    if pid == (info.backend_pid,) or pooler.hides_process:
        return ok(check, server.side, f"{info.host} port {info.port} is the server itself")
    # A pooler such as pgbouncer answers the login itself and makes up the process id for cancel requests.
    found = f"{info.host} port {info.port} names another server process than the one that answers"
    return trouble(
        check,
        server.side,
        Verdict.BLOCKS,
        found,
        f"So a pooler such as pgbouncer is in between. {why}",
        remedy=by_hand(direct),
    )


def _version(server: Server) -> Finding:
    found = f"PostgreSQL {server.version}"
    minimum = MINIMUM_SOURCE_VERSION if server.side is Side.SOURCE else MINIMUM_TARGET_VERSION
    if server.version_number >= minimum:
        return ok("version", server.side, found)
    if server.side is Side.SOURCE:
        why = "Logical replication as it is used here needs PostgreSQL 13 or newer on the source"
        fix = "Upgrade the source to PostgreSQL 13 or newer (pg_upgrade), then migrate"
    else:
        why = "The target must be PostgreSQL 15 or newer"
        fix = "Create the target with PostgreSQL 15 or newer"
    return trouble("version", server.side, Verdict.BLOCKS, found, why, remedy=by_hand(fix))


def _standby(server: Server) -> Finding:
    if not server.is_standby:
        return ok("standby", server.side, "a primary")
    why = (
        "Publications and replica identities can only be made on the primary"
        if server.side is Side.SOURCE
        else "Nothing can be written to a standby"
    )
    fix = f"Use the connection string of the primary as --{server.side.value}"
    return trouble(
        "standby", server.side, Verdict.BLOCKS, "a standby (read replica)", why, remedy=by_hand(fix)
    )
