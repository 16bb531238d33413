"""What only shows when both servers are looked at together."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.checks.finding import Finding, Verdict
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


def check_pair(source: Session, target: Session) -> tuple[Finding, ...]:
    """All checks that compare the two, in the order they are shown; what to fix is on the target.

    Raises:
        EngineError: A server could not be read.
    """
    source_identity = read_identity(source, Side.SOURCE)
    target_identity = read_identity(target, Side.TARGET)
    return (
        _different(source_identity, target_identity),
        _major_versions(source.info.server_version, target.info.server_version),
        _encodings(source_identity, target_identity),
    )


def _finding(check: str, verdict: Verdict, found: str, why: str = "", fix: str = "") -> Finding:
    return Finding(check, Side.TARGET, verdict, found, why, fix)


def _different(source: DatabaseIdentity, target: DatabaseIdentity) -> Finding:
    if source.is_same_database(target):
        return _finding(
            "different_databases",
            Verdict.BLOCKS,
            f"source and target are the same database {target.database}",
            "Replicating a database into itself would copy every row onto itself without end",
            "Check the two connection strings",
        )
    if target.is_copied_from(source):
        return _finding(
            "different_databases",
            Verdict.WARNING,
            "the target's server was made from a physical copy of the source's",
            "Its tables may already hold rows, which the copy would add again",
            "Empty the target's tables first, or check that this is another, empty database",
        )
    return _finding("different_databases", Verdict.OK, "two databases")


def _major_versions(source_version: int, target_version: int) -> Finding:
    source_major, target_major = source_version // 10000, target_version // 10000
    found = f"{source_major} → {target_major}"
    if target_major >= source_major:
        return _finding("major_versions", Verdict.OK, found)
    return _finding(
        "major_versions",
        Verdict.WARNING,
        found,
        "The target is older than the source: parts of the schema may use what it does not know",
        f"Create the target with PostgreSQL {source_major} or newer, or expect to edit the schema",
    )


def _encodings(source: DatabaseIdentity, target: DatabaseIdentity) -> Finding:
    found = f"{source.encoding} → {target.encoding}"
    if source.encoding == target.encoding:
        return _finding("encodings", Verdict.OK, found)
    return _finding(
        "encodings",
        Verdict.WARNING,
        found,
        "Text is converted on its way; a character that the target's encoding lacks, or bytes that are "
        "not text in the source's, stop their table",
        f"Create the target database with encoding {source.encoding}, or with UTF8 where all text is valid",
    )
