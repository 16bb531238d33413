"""Whether there is a place for everything that runs at the same time: slots, walsenders, sessions, locks."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import psycopg
from psycopg.rows import class_row

from engine.checks.finding import Finding, Verdict, ok, trouble
from engine.checks.server import Server
from engine.checks.source import SourceFacts
from engine.connection.explain import explain
from engine.errors import Side

_SOURCE_SESSIONS = 4
"""Beside one a worker: control, pg_dump, looking at tables, the cutover."""

_TARGET_SESSIONS = 6
"""Beside one a worker: control, two of apply, two index builds, state."""

_ROOM = """
select c.connections - c.reserved - (
           select pg_catalog.count(*) from pg_catalog.pg_stat_activity a
            -- Of other roles' sessions not everybody may see the kind.
            where coalesce(a.backend_type = 'client backend', a.datid is not null)
              and a.application_name not like 'livesync-tui%') as server,
       c.connections as server_limit,
       case when r.rolconnlimit >= 0 and not r.rolsuper then r.rolconnlimit - (
           select pg_catalog.count(*) from pg_catalog.pg_stat_activity a
            where a.usesysid = r.oid and a.application_name not like 'livesync-tui%') end as role,
       case when d.datconnlimit >= 0 and not r.rolsuper then d.datconnlimit - (
           select pg_catalog.count(*) from pg_catalog.pg_stat_activity a
            where a.datid = d.oid and a.application_name not like 'livesync-tui%') end as database,
       c.locks_each, c.locks_each::int8 * (c.connections + c.prepared) as locks
  from (select pg_catalog.current_setting('max_connections')::int as connections,
               pg_catalog.current_setting('superuser_reserved_connections')::int
               -- PostgreSQL 16.
               + coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) as reserved,
               pg_catalog.current_setting('max_locks_per_transaction')::int as locks_each,
               pg_catalog.current_setting('max_prepared_transactions')::int as prepared) c
  join pg_catalog.pg_roles r on r.rolname = current_user
  join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
"""


@dataclass(frozen=True, slots=True)
class _Room:
    server: int
    server_limit: int
    role: int | None
    """Sessions that the role may still open, None where it has no limit of its own."""

    database: int | None
    locks_each: int
    """``max_locks_per_transaction``."""

    locks: int
    """How many objects all transactions together can hold locked."""


def check_slots(server: Server, facts: SourceFacts, sync_workers: int) -> tuple[Finding, Finding]:
    """Free replication slots and walsenders of the source against the workers and one for live changes."""
    # Slots of an earlier or running start are used again, so they do not count against this one.
    slots_free = facts.slots - facts.slots_used + facts.slots_ours
    walsenders_free = facts.walsenders - facts.walsenders_used + facts.walsenders_ours
    return (
        _places(
            server,
            "replication_slots",
            "max_replication_slots",
            free=slots_free,
            limit=facts.slots,
            sync_workers=sync_workers,
            or_else="Or drop slots that nothing uses: select pg_drop_replication_slot(…)",
        ),
        _places(
            server,
            "walsenders",
            "max_wal_senders",
            free=walsenders_free,
            limit=facts.walsenders,
            sync_workers=sync_workers,
        ),
    )


def _places(
    server: Server, check: str, setting: str, *, free: int, limit: int, sync_workers: int, or_else: str = ""
) -> Finding:
    found = f"{free} free of {limit}"
    if free > sync_workers:
        return ok(check, Side.SOURCE, found)
    remedy = server.advisor.setting(setting, limit - free + sync_workers + 1).with_words(or_else)
    why = "Live changes take one and each table being copied takes one"
    if free >= 2:
        why += f": only {free - 1} of {sync_workers} sync workers can work at a time"
        return trouble(check, Side.SOURCE, Verdict.WARNING, found, why, remedy=remedy)
    why += ", so at least 2 must be free"
    return trouble(check, Side.SOURCE, Verdict.BLOCKS, found, why, remedy=remedy)


def check_room(server: Server, sync_workers: int, objects: int) -> tuple[Finding, Finding]:
    """Free sessions, and locks for a dump or a restore.

    Args:
        server: Either side.
        sync_workers: How many tables are to be copied at a time.
        objects: How many relations one transaction locks there: the tables of the source in its dump, all
            relations in the restore.

    Raises:
        EngineError: The server could not be read.
    """
    try:
        with server.session.cursor(row_factory=class_row(_Room)) as cursor:
            room = cursor.execute(_ROOM).fetchone()
    except psycopg.Error as error:
        raise explain(error, server.side, "counting its sessions") from None
    assert room is not None  # Every session has a role and a database.
    return _sessions(server, room, sync_workers), _locks(server, room, objects)


def _sessions(server: Server, room: _Room, sync_workers: int) -> Finding:
    check = "connections"
    needed = sync_workers + (_SOURCE_SESSIONS if server.side is Side.SOURCE else _TARGET_SESSIONS)
    limits = {
        f"of the server's {room.server_limit}": room.server,
        f"for role {server.role}": room.role,
        "for the database": room.database,
    }
    where, free = min(
        ((where, free) for where, free in limits.items() if free is not None), key=lambda limit: limit[1]
    )
    found = f"{free} free {where}, up to {needed} are used"
    if free >= needed:
        return ok(check, server.side, found)
    remedy = server.advisor.setting("max_connections", room.server_limit - free + needed)
    if free == room.role:
        remedy = server.advisor.own_sql(f"alter role {server.advisor.role} connection limit -1")
    elif free == room.database:
        remedy = server.advisor.own_sql(f"alter database {server.advisor.database} connection limit -1")
    return trouble(
        check,
        server.side,
        Verdict.WARNING if free >= 3 else Verdict.BLOCKS,
        found,
        "When no session is free, tables are copied fewer at a time or set aside, and the application may be "
        "refused as well",
        remedy=remedy.with_words("Or take fewer sync workers, or end idle sessions"),
    )


def _locks(server: Server, room: _Room, objects: int) -> Finding:
    check = "max_locks_per_transaction"
    found = f"{room.locks_each}: {room.locks:,} locks for a transaction that takes {objects:,}"
    # The application holds locks as well.
    if room.locks >= 2 * objects:
        return ok(check, server.side, found)
    wanted = 64 * ceil(2 * objects * room.locks_each / room.locks / 64)
    doing = "pg_dump locks every table" if server.side is Side.SOURCE else "The restore locks all it creates"
    return trouble(
        check,
        server.side,
        Verdict.WARNING,
        found,
        f"{doing} in one transaction; it fails with 'out of shared memory' when the lock table is full, and "
        "other sessions with it",
        remedy=server.advisor.setting(check, wanted),
    )
