"""What a server says of our own backends: why one does not answer, and how to end one that we lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_BACKEND = """
select a.state,
       a.wait_event_type || ':' || a.wait_event,
       (select l.relation::pg_catalog.regclass::text
          from pg_catalog.pg_locks l
         where l.pid = a.pid and not l.granted and l.relation is not null
         limit 1),
       b.pid, b.usename, b.application_name,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - b.xact_start)
  from pg_catalog.pg_stat_activity a
  left join pg_catalog.pg_stat_activity b on b.pid = (pg_catalog.pg_blocking_pids(a.pid))[1]
 where a.pid = %s
"""

_WORKING = """
select count(*)
  from pg_catalog.pg_stat_activity
 where pid = any(%s) and state = 'active'
   and coalesce(wait_event_type, '') not in ('Client', 'Activity')
"""
"""Of those that wait for their client, or in their main loop for anything at all, none works for us."""

_END_FORGOTTEN = """
with blocker as (
    select distinct pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) as pid
      from pg_catalog.pg_stat_activity a
     where a.application_name like 'livesync-tui %%' and a.datname = pg_catalog.current_database()
       and a.wait_event_type = 'Lock'
)
select a.pid, pg_catalog.pg_terminate_backend(a.pid)
  from pg_catalog.pg_stat_activity a
  join blocker b on b.pid = a.pid
 where a.application_name like 'livesync-tui %%' and a.usename = current_user
   and a.state = 'idle in transaction'
   and a.state_change < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %s)
"""
"""A session of ours that neither works nor ends, and in whose way another of ours is."""

_END = """
select pg_catalog.pg_terminate_backend(pid)
  from pg_catalog.pg_stat_activity
 where pid = %s and pid <> pg_catalog.pg_backend_pid() and usename = current_user
   and application_name like 'livesync-tui %%'
"""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a backend of ours does not answer."""

    words: str
    is_working: bool
    """Whether the target knows of a statement of ours at all."""


def what_it_waits_for(target: Session, pid: int) -> Wait:
    """Look at our backend ``pid`` from another session.

    Raises:
        EngineError: The target could not be asked.
    """
    try:
        row = target.execute(_BACKEND, (pid,)).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking at what the apply stream waits for") from None
    if row is None:
        return Wait("the target has ended the session that applies changes", is_working=False)
    state, event, relation, blocker, user, application, age = row
    if blocker is not None:
        on = "" if relation is None else f" on {relation}"
        since = "" if age is None else f", in a transaction open for {float(str(age)):.0f} s"
        who = f"{user or 'unknown'}, {application or 'no application name'}"
        return Wait(f"a lock{on} on the target that pid {blocker} holds ({who}{since})", is_working=True)
    if state == "active" and str(event).startswith("Client:"):
        return Wait("data from us, which the link to the target does not pass on", is_working=False)
    if state == "active":
        return Wait(f"a slow statement on the target ({event or 'running'})", is_working=True)
    return Wait("an answer of the target, whose session is idle", is_working=False)


def is_any_working(session: Session, side: Side, pids: Sequence[int]) -> bool:
    """Whether a backend of ours on that side is at work, or waits for something else than us.

    Raises:
        EngineError: The server could not be asked.
    """
    try:
        row = session.execute(_WORKING, (list(pids),)).fetchone()
    except psycopg.Error as error:
        raise explain(error, side, "looking at what a table's sync waits for") from None
    return row != (0,)


def end_remainder(session: Session, pid: int | None, side: Side = Side.TARGET) -> None:
    """End an earlier session of ours that the server may not know to be lost: its locks would stop us.

    Raises:
        EngineError: The server refused.
    """
    if pid is None:
        return
    try:
        session.execute(_END, (pid,))
    except psycopg.Error as error:
        raise explain(error, side, "ending an earlier session of ours") from None


def end_forgotten(target: Session, idle_seconds: float) -> int:
    """End sessions of ours, of this engine or of one that was killed, that a dead link keeps open.

    The target cannot tell them from living ones while something in between answers for us. They hold the row
    that a commit would have released, so they are found by who waits for them.

    Args:
        target: A session that does not wait itself.
        idle_seconds: How long they must have done nothing inside their transaction.

    Returns:
        How many were ended.

    Raises:
        EngineError: The target could not be asked.
    """
    try:
        return len(target.execute(_END_FORGOTTEN, (idle_seconds,)).fetchall())
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for forgotten sessions of ours") from None
