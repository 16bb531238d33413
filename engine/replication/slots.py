"""Replication slots of one subscription: their names, what the source knows of them, dropping them.

Names: ``live_sync_<subscription>`` for the apply stream, ``live_sync_<subscription>_<oid>_sync`` for the
sync of one table. A slot that nobody uses keeps WAL on the source until its disk is full, so every path
that ends a table's sync or a subscription comes through :func:`drop_slot`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import ConnectionFailedError, Failure, Retry, Side, UsageError
from engine.lsn import parse_lsn

_SUBSCRIPTION_NAME = re.compile(r"[a-z0-9_]{1,35}\Z")
"""Slot names take only these characters and 63 bytes in all; 35 leaves room for prefix, oid and suffix."""

_LOOKS_LIKE_A_SYNC_SLOT = re.compile(r"_[0-9]+_sync\Z")

_UNDEFINED_OBJECT = "42704"

_SLOTS = """
select slot_name, active_pid, restart_lsn, confirmed_flush_lsn, coalesce(wal_status, 'unknown'),
       database = pg_catalog.current_database(), plugin
  from pg_catalog.pg_replication_slots
 where slot_name = %s or slot_name ~ %s
"""

_DROP = """
select pg_catalog.pg_drop_replication_slot(slot_name)
  from pg_catalog.pg_replication_slots
 where slot_name = %s
"""

_ACTIVE_PID = """
select active_pid from pg_catalog.pg_replication_slots where slot_name = %s and active_pid is not null
"""

_RELEASE_SECONDS = 6.0
_POLL_SECONDS = 0.05

_OLDEST_WRITER = """
select who, usename, application_name,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - since),
       pg_catalog."left"(query, 60)
  from (select 'pid ' || pid, usename, application_name, xact_start,
               -- Only what kind of statement it is: the rest may hold values.
               pg_catalog.lower(pg_catalog.split_part(pg_catalog.btrim(query), ' ', 1))
          from pg_catalog.pg_stat_activity
         where backend_xid is not null and pid <> pg_catalog.pg_backend_pid()
         union all
        -- Nobody's session any more, and forgotten more easily than one.
        select 'prepared transaction ' || pg_catalog.quote_literal(gid), owner, database, prepared,
               'end it with commit prepared or rollback prepared'
          from pg_catalog.pg_prepared_xacts) as writer (who, usename, application_name, since, query)
 order by since
 limit 1
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as the source lists it."""

    name: str
    active_pid: int | None
    restart_lsn: int | None
    confirmed_flush_lsn: int | None
    wal_status: str
    in_this_database: bool
    plugin: str


def require_subscription_name(name: str) -> None:
    """Refuse a name that cannot be part of a slot name.

    Raises:
        UsageError: It has other characters than a-z, 0-9 and _, or is too long.
    """
    if _SUBSCRIPTION_NAME.match(name) and not _LOOKS_LIKE_A_SYNC_SLOT.search(name):
        return
    raise UsageError(
        Failure(
            title=f"The subscription name {name!r} cannot be used",
            hint="Use 1 to 35 of the characters a-z, 0-9 and _ (it becomes part of a slot name), "
            "not ending in _<number>_sync",
            retry=Retry.NEVER,
        )
    )


def apply_slot_name(subscription: str) -> str:
    """Name of the slot of the apply stream."""
    return f"live_sync_{subscription}"


def sync_slot_name(subscription: str, source_oid: int) -> str:
    """Name of the slot of one table's sync."""
    return f"live_sync_{subscription}_{source_oid}_sync"


def list_slots(source: Session, subscription: str) -> dict[str, Slot]:
    """All slots of ``subscription`` on the source, by name.

    Raises:
        EngineError: The source could not be read.
    """
    pattern = f"^live_sync_{subscription}_[0-9]+_sync$"
    try:
        rows = source.execute(_SLOTS, (apply_slot_name(subscription), pattern)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "listing replication slots") from None
    slots = {}
    for name, active_pid, restart, confirmed, wal_status, here, plugin in rows:
        slots[str(name)] = Slot(
            name=str(name),
            active_pid=active_pid if isinstance(active_pid, int) else None,
            restart_lsn=None if restart is None else parse_lsn(str(restart)),
            confirmed_flush_lsn=None if confirmed is None else parse_lsn(str(confirmed)),
            wal_status=str(wal_status),
            in_this_database=bool(here),
            plugin=str(plugin),
        )
    return slots


def release_slot(source: Session, name: str) -> None:
    """End the walsender that still holds one of our slots; none is fine.

    After a cut connection the source keeps the old walsender, and with it the slot, until
    wal_sender_timeout. The caller owns the subscription, so whoever holds its slot is a remainder.

    Raises:
        ConnectionFailedError: It is still held; try again later.
        EngineError: The source refused.
    """
    deadline = time.monotonic() + _RELEASE_SECONDS
    terminated = False
    while True:
        try:
            row = source.execute(_ACTIVE_PID, (name,)).fetchone()
            if row is None:
                return
            # A walsender whose connection was closed in order ends by itself within moments.
            if not terminated and time.monotonic() > deadline - _RELEASE_SECONDS / 2:
                source.execute("select pg_catalog.pg_terminate_backend(%s)", (row[0],))
                terminated = True
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, f"releasing the replication slot {name}") from None
        if time.monotonic() > deadline:
            raise ConnectionFailedError(
                Failure(
                    title=f"The replication slot {name} is still held by an earlier session (pid {row[0]})",
                    hint="Nothing to do; the source gives it up after wal_sender_timeout",
                    side=Side.SOURCE,
                    retry=Retry.TIMED,
                )
            )
        time.sleep(_POLL_SECONDS)


def drop_slot(source: Session, name: str) -> None:
    """Drop one of our slots; one that does not exist is fine.

    Raises:
        EngineError: The source refused, for example because the slot is in use.
    """
    release_slot(source, name)
    try:
        source.execute(_DROP, (name,))
    except psycopg.Error as error:
        if error.sqlstate != _UNDEFINED_OBJECT:
            raise explain(error, Side.SOURCE, f"dropping the replication slot {name}") from None


def oldest_writer(source: Session) -> str | None:
    """Who a new slot waits for, in words, or None when no transaction is writing.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        row = source.execute(_OLDEST_WRITER).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for long transactions") from None
    if row is None:
        return None
    who, user, application, age_seconds, query = row
    age = float(str(age_seconds))
    text = " ".join(str(query or "").split())
    return f"{who} ({user}, {application or 'no application name'}), open for {age:.0f} s: {text}"
