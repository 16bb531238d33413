"""Looks who still writes to a database, and whose transactions have been open for long.

That nobody will write a second later cannot be proven, so screens show several readings over time.
"""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.cutover.outcome import WriteActivity
from engine.errors import Side

# Inside a transaction the statistics would stay what they were at the first look.
_CLEAR = "select pg_catalog.pg_stat_clear_snapshot()"

_SESSIONS = r"""
with activity as (
    select a.pid, a.usename::text as user_name, a.application_name, a.backend_xid, a.state,
           coalesce(a.xact_start, a.query_start, a.state_change, a.backend_start) as since,
           -- Without the comments that drivers put in front.
           pg_catalog.regexp_replace(a.query, '^(\s+|/\*.*?\*/|--[^\n]*\n)+', '') as statement
      from pg_catalog.pg_stat_activity a
     where a.datname = pg_catalog.current_database()
       and a.pid <> pg_catalog.pg_backend_pid()
       and not pg_catalog.starts_with(a.application_name, 'livesync-tui')
       and a.backend_type not in ('autovacuum worker', 'parallel worker', 'walsender')
)
select pg_catalog.format('pid %%s', pid), user_name, application_name, since,
       pg_catalog.left(pg_catalog.regexp_replace(statement, '\s+', ' ', 'g'), %(head)s)
  from activity
 where backend_xid is not null
       -- It has not changed anything yet, and may be about to.
    or (state in ('active', 'fastpath function call')
        and statement !~* %(harmless)s)
 union all
select pg_catalog.format('prepared transaction %%s', gid), owner::text, null, prepared, ''
  from pg_catalog.pg_prepared_xacts
 where database = pg_catalog.current_database()
 order by 4
"""

# Of one's own tables only: pg_stat_database also counts the catalogs, and an autovacuum that analyzes after
# the last write would look like a writer.
_TOTALS = """
select pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.clock_timestamp(),
       coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(c.oid)
                               + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                               + pg_catalog.pg_stat_get_tuples_deleted(c.oid)), 0)::int8
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema')
"""

LONG_TRANSACTION_SECONDS = 10.0
"""A transaction that has written and stays open longer than that is likely to outlast the writers' stop."""

_LONG_TRANSACTIONS = r"""
select pg_catalog.format('pid %%s', a.pid), a.usename::text, a.application_name, a.xact_start,
       pg_catalog.left(pg_catalog.regexp_replace(a.query, '\s+', ' ', 'g'), %(head)s)
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.pid <> pg_catalog.pg_backend_pid()
   and a.backend_xid is not null
   and not pg_catalog.starts_with(a.application_name, 'livesync-tui')
   and a.xact_start < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
 union all
select pg_catalog.format('prepared transaction %%s', gid), owner::text, null, prepared, ''
  from pg_catalog.pg_prepared_xacts
 where database = pg_catalog.current_database()
 order by 4
"""

_HIDDEN = """
select pg_catalog.count(*)
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.query = '<insufficient privilege>'
"""

_HARMLESS = (
    r"^\(*\s*(select|show|table|values|explain|fetch|move|close|declare|begin|start|commit|end|rollback|abort"
    r"|savepoint|release|set|reset|discard|listen|unlisten)\M"
)
"""How statements begin that write nothing by themselves; functions that write have a transaction id."""

_HEAD_CHARACTERS = 100


def write_activity(session: Session) -> WriteActivity:
    """Who holds a write transaction or runs something other than a query in the session's database.

    Livesync's own sessions, autovacuum and readers are left out; prepared transactions are included. A role
    without pg_read_all_stats sees nothing of other users' sessions, but their changes are counted all the
    same: by PostgreSQL's statistics, which a busy session reports at most once a second, and when its
    transaction ends.

    Args:
        session: A session on the database to look at.

    Raises:
        EngineError: The server could not be asked.
    """
    try:
        session.execute(_CLEAR)
        sessions = session.execute(_SESSIONS, {"head": _HEAD_CHARACTERS, "harmless": _HARMLESS}).fetchall()
        totals = session.execute(_TOTALS).fetchone()
        long_ones = session.execute(
            _LONG_TRANSACTIONS, {"head": _HEAD_CHARACTERS, "seconds": LONG_TRANSACTION_SECONDS}
        ).fetchall()
        hidden = session.execute(_HIDDEN).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for writers") from None
    position_lsn, taken_at, row_changes_total = totals or ("0/0", None, 0)
    moment = taken_at if isinstance(taken_at, datetime) else datetime.now(UTC)
    return WriteActivity(
        taken_at=moment,
        position_lsn=str(position_lsn),
        sessions=tuple(_line(moment, row) for row in sessions),
        row_changes_total=int(str(row_changes_total)),
        long_transactions=tuple(_line(moment, row) for row in long_ones),
        hidden_sessions=int(str(hidden[0])) if hidden is not None else 0,
    )


def _line(moment: datetime, row: tuple[object, ...]) -> str:
    who, user, application, since, head = row
    age = f"{max(0, round((moment - since).total_seconds()))} s" if isinstance(since, datetime) else None
    return " · ".join(str(part) for part in (who, user, application, age, head) if part)
