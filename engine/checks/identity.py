"""What tells one database from another, whatever address it was reached at."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_IDENTITY = """
select pg_catalog.current_database()::text as database,
       pg_catalog.pg_postmaster_start_time()::text as server_started_at,
       pg_catalog.current_setting('server_encoding') as encoding,
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute')
           as may_read_system_identifier
"""

_SYSTEM_IDENTIFIER = "select system_identifier::text from pg_catalog.pg_control_system()"


@dataclass(frozen=True, slots=True)
class _IdentityRow:
    database: str
    server_started_at: str
    encoding: str
    may_read_system_identifier: bool


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """What tells one database from another, whatever address it was reached at."""

    database: str
    server_started_at: str
    """To the microsecond. A clone or a promoted standby has its original's system identifier, but was not
    started in the same moment."""

    system_identifier: str | None
    """None where the role may not read it."""

    encoding: str

    def is_same_database(self, other: DatabaseIdentity) -> bool:
        """Whether both were read from one and the same database."""
        return (
            self.database == other.database
            and self.server_started_at == other.server_started_at
            and not self._has_other_system(other)
        )

    def is_copied_from(self, other: DatabaseIdentity) -> bool:
        """Whether the two servers began as one (snapshot, base backup, promoted standby)."""
        return (
            self.system_identifier is not None
            and self.system_identifier == other.system_identifier
            and self.server_started_at != other.server_started_at
        )

    def _has_other_system(self, other: DatabaseIdentity) -> bool:
        known = None not in (self.system_identifier, other.system_identifier)
        return known and self.system_identifier != other.system_identifier


def read_identity(session: Session, side: Side) -> DatabaseIdentity:
    """Read what tells the session's database from others.

    Raises:
        EngineError: The server could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_IdentityRow)) as cursor:
            row = cursor.execute(_IDENTITY).fetchone()
        assert row is not None  # A query without FROM has one row.
        identifier = (
            session.execute(_SYSTEM_IDENTIFIER).fetchone() if row.may_read_system_identifier else None
        )
    except psycopg.Error as error:
        raise explain(error, side, "reading its identity") from None
    return DatabaseIdentity(
        database=row.database,
        server_started_at=row.server_started_at,
        system_identifier=None if identifier is None else str(identifier[0]),
        encoding=row.encoding,
    )
