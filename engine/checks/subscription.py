"""What must hold before a subscription starts, as one clear failure each.

The list of checks (:mod:`engine.checks.run`) shows everything at once to a person. These are for starting:
they stop at the first precondition that does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import quote_identifier
from engine.checks.identity import read_identity
from engine.checks.server import MINIMUM_SOURCE_VERSION
from engine.checks.source import read_source_facts
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side

_PUBLICATIONS = """
select p.pubname::text as name, p.puballtables as all_tables
  from pg_catalog.pg_publication p
 where p.pubname = any (%s)
"""


@dataclass(frozen=True, slots=True)
class _Publication:
    name: str
    all_tables: bool


def _blocked(title: str, hint: str, retry: Retry = Retry.MANUAL) -> BlockedError:
    return BlockedError(Failure(title, hint=hint, side=Side.SOURCE, retry=retry))


def require_source_ready(session: Session) -> None:
    """Refuse a source that cannot give out a logical replication slot.

    Raises:
        BlockedError: It is too old, a standby, lacks wal_level = logical, a right or a free slot.
        EngineError: It could not be read.
    """
    facts = read_source_facts(session)
    if session.info.server_version < MINIMUM_SOURCE_VERSION:
        raise _blocked(
            f"The source is PostgreSQL {facts.version}; 13 or newer is needed",
            "Upgrade the source first (pg_upgrade)",
            Retry.NEVER,
        )
    if facts.is_standby:
        raise _blocked(
            "The source is a standby (read replica)",
            "Use the connection string of the primary as --source",
            Retry.NEVER,
        )
    if facts.wal_level != "logical":
        raise _blocked(
            f"The source has wal_level = {facts.wal_level}, and logical is needed",
            "alter system set wal_level = 'logical'; then restart the source "
            "(managed: in the provider's parameters)",
        )
    if not facts.can_replicate:
        raise _blocked(
            f"The role {facts.role} may not replicate from the source",
            f"alter role {facts.quoted_role} with replication;",
        )
    if facts.slots_used >= facts.slots:
        raise _blocked(
            f"All {facts.slots} replication slots of the source are taken",
            "Drop slots that nothing uses (select slot_name, active from pg_replication_slots), "
            "or raise max_replication_slots and restart the source",
        )


def require_publications(session: Session, names: Sequence[str]) -> None:
    """Refuse publications that do not exist or publish all tables there will ever be.

    Args:
        session: On the source.
        names: The publications, unquoted.

    Raises:
        BlockedError: Names the first that cannot be used, or all that are missing.
        EngineError: The source could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_Publication)) as cursor:
            found = cursor.execute(_PUBLICATIONS, [list(names)]).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the publications") from None
    existing = {publication.name for publication in found}
    missing = [name for name in dict.fromkeys(names) if name not in existing]
    if missing:
        listed = ", ".join(quote_identifier(name) for name in missing)
        noun = "publication" if len(missing) == 1 else "publications"
        raise _blocked(
            f"The source has no {noun} {listed}",
            f"create publication {quote_identifier(missing[0])} for table …; "
            "with (publish_via_partition_root = true) where tables are partitioned",
        )
    for publication in found:
        if publication.all_tables:
            name = quote_identifier(publication.name)
            raise _blocked(
                f"The publication {name} is FOR ALL TABLES, which cannot be used: it also publishes tables "
                "that extensions keep for themselves, and writing those on the target would corrupt them",
                f"List the tables: create publication {name}_tables for table …; "
                "or, since PostgreSQL 15, for tables in schema …",
                Retry.NEVER,
            )


def require_different_databases(source: Session, target: Session) -> None:
    """Refuse to replicate a database into itself.

    Raises:
        BlockedError: Both sessions are in the same database.
        EngineError: A server could not be read.
    """
    identity = read_identity(target, Side.TARGET)
    if read_identity(source, Side.SOURCE).is_same_database(identity):
        raise BlockedError(
            Failure(
                title=f"Source and target are the same database {quote_identifier(identity.database)}",
                hint="Check --source and --target",
                side=Side.TARGET,
                retry=Retry.NEVER,
            )
        )
