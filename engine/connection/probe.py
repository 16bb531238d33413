"""Looks at one server by connecting to it: who answers, which version, and how far away it is."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.connection.summary import ServerSummary

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
           as timescaledb_version
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


def probe_server(endpoint: Endpoint) -> ServerSummary:
    """Connect, look and disconnect.

    Raises:
        ConnectionFailedError: The server cannot be reached or refuses the login.
        EngineError: It answered, but not as PostgreSQL does, or a pooler is in between.
    """
    with open_session(endpoint, "probe") as session:
        try:
            return _probe(endpoint, session)
        except psycopg.Error as error:
            raise explain(error, endpoint.side, "looking at the server") from None


def _probe(endpoint: Endpoint, session: Session) -> ServerSummary:
    with session.cursor(row_factory=class_row(_Facts)) as cursor:
        facts = cursor.execute(_FACTS).fetchone()
    assert facts is not None  # Every session's role is in pg_roles.
    identifier = session.execute(_SYSTEM_IDENTIFIER).fetchone() if facts.may_read_identifier else None
    return ServerSummary(
        side=endpoint.side,
        version=facts.version,
        version_number=session.info.server_version,
        database=facts.database,
        user=facts.role,
        is_standby=facts.is_standby,
        is_superuser=facts.is_superuser,
        can_replicate=facts.can_replicate,
        uses_tls=session.pgconn.ssl_in_use,
        wal_level=facts.wal_level,
        database_size_bytes=facts.database_size_bytes,
        round_trip_seconds=min(_round_trip_seconds(session) for _ in range(_ROUND_TRIPS)),
        system_identifier=None if identifier is None else str(identifier[0]),
        timescaledb_version=facts.timescaledb_version,
    )


def _round_trip_seconds(session: Session) -> float:
    started = time.monotonic()
    session.execute("select 1")
    return time.monotonic() - started
