"""Looks at one server by connecting to it: who answers, which version, and how far away it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import psycopg
from psycopg.rows import class_row

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.connection.stage import Stage, StageDone
from engine.connection.summary import ServerSummary
from engine.connection.watched_login import OnStage, watch_login

_FACTS = """
select pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) as version,
       pg_catalog.current_database()::text as database,
       current_user::text as role,
       pg_catalog.pg_is_in_recovery() as is_standby,
       r.rolsuper as is_superuser,
       r.rolsuper or r.rolreplication
       -- RDS and Aurora give the right through membership instead of the attribute.
       or exists (select from pg_catalog.pg_roles rds
                   where rds.rolname = 'rds_replication'
                     and pg_catalog.pg_has_role(rds.oid, 'member')) as can_replicate,
       pg_catalog.current_setting('wal_level') as wal_level,
       pg_catalog.pg_database_size(pg_catalog.current_database()) as database_size_bytes,
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute')
           as may_read_identifier,
       (select e.extversion from pg_catalog.pg_extension e where e.extname = 'timescaledb')
           as timescaledb_version,
       (select s.version from pg_catalog.pg_stat_ssl s
         where s.pid = pg_catalog.pg_backend_pid() and s.ssl) as tls_version
  from pg_catalog.pg_roles r
 where r.rolname = current_user
"""

_SYSTEM_IDENTIFIER = "select system_identifier::text from pg_catalog.pg_control_system()"

_ROUND_TRIPS = 3


@dataclass(frozen=True, slots=True)
class _Facts:
    version: str
    database: str
    role: str
    is_standby: bool
    is_superuser: bool
    can_replicate: bool
    wal_level: str
    database_size_bytes: int
    may_read_identifier: bool
    timescaledb_version: str | None
    tls_version: str | None


def probe_server(endpoint: Endpoint, on_stage: OnStage | None = None) -> ServerSummary:
    """Connect, look and disconnect.

    Args:
        endpoint: Where to connect.
        on_stage: Gets each stage as it is passed, on this thread; then one more login is watched before the
            session is opened.

    Raises:
        ConnectionFailedError: The server cannot be reached or refuses the login.
        EngineError: It answered, but not as PostgreSQL does, or a pooler is in between.
    """
    tell = on_stage or _keep_quiet
    if on_stage is not None:
        watch_login(endpoint, "probe", on_stage)
    started = time.monotonic()
    with open_session(endpoint, "probe") as session:
        try:
            return _probe(endpoint, session, started, tell)
        except psycopg.Error as error:
            raise explain(error, endpoint.side, "looking at the server") from None


def _keep_quiet(_: StageDone) -> None:
    """What is told when nobody asked."""


def _probe(endpoint: Endpoint, session: Session, started: float, tell: OnStage) -> ServerSummary:
    opened = time.monotonic()
    major, minor = divmod(session.info.server_version, 10000)
    tell(StageDone(Stage.VERSION, opened - started, f"{major}.{minor}"))
    with session.cursor(row_factory=class_row(_Facts)) as cursor:
        facts = cursor.execute(_FACTS).fetchone()
    assert facts is not None  # Every session's role is in pg_roles.
    identifier = session.execute(_SYSTEM_IDENTIFIER).fetchone() if facts.may_read_identifier else None
    summary = ServerSummary(
        side=endpoint.side,
        version=facts.version,
        version_number=session.info.server_version,
        host=session.info.host,
        database=facts.database,
        user=facts.role,
        is_standby=facts.is_standby,
        is_superuser=facts.is_superuser,
        can_replicate=facts.can_replicate,
        uses_tls=session.pgconn.ssl_in_use,
        tls_version=facts.tls_version,
        wal_level=facts.wal_level,
        database_size_bytes=facts.database_size_bytes,
        round_trip_seconds=0.0,
        system_identifier=None if identifier is None else str(identifier[0]),
        timescaledb_version=facts.timescaledb_version,
    )
    tell(StageDone(Stage.ROLE, time.monotonic() - opened, summary.role_words))
    round_trip_seconds = min(_round_trip_seconds(session) for _ in range(_ROUND_TRIPS))
    tell(StageDone(Stage.LATENCY, round_trip_seconds, f"best of {_ROUND_TRIPS}"))
    return replace(summary, round_trip_seconds=round_trip_seconds)


def _round_trip_seconds(session: Session) -> float:
    started = time.monotonic()
    session.execute("select 1")
    return time.monotonic() - started
