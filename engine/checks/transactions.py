"""Transactions on the source that a new replication slot would wait for."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.connection.explain import explain
from engine.errors import Side
from engine.providers.fix import Fix

LONG_TRANSACTION_SECONDS = 60.0
"""Younger ones are likely to end before the first slot is made."""

_QUERY_HEAD_CHARACTERS = 60

_LONG_TRANSACTIONS = """
select a.pid,
       coalesce(a.usename::text, '') as role,
       coalesce(a.application_name, '') as application,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start) as age_seconds,
       pg_catalog."left"(
           pg_catalog.regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), %(characters)s) as query
  from pg_catalog.pg_stat_activity a
 where a.pid <> pg_catalog.pg_backend_pid()
   -- Only a transaction that has written holds up a new slot, whichever database it is in.
   and a.backend_xid is not null
   and a.xact_start < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
 order by a.xact_start
"""

_HIDDEN_SESSIONS = """
select pg_catalog.count(*)
  from pg_catalog.pg_stat_activity a
 where a.datid is not null and a.query = '<insufficient privilege>'
"""

_PREPARED_TRANSACTIONS = """
select x.gid, x.owner::text as role, x.database::text as database,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - x.prepared) as age_seconds
  from pg_catalog.pg_prepared_xacts x
 order by x.prepared
"""


@dataclass(frozen=True, slots=True)
class _LongTransaction:
    pid: int
    role: str
    application: str
    age_seconds: float
    query: str


@dataclass(frozen=True, slots=True)
class _PreparedTransaction:
    gid: str
    role: str
    database: str
    age_seconds: float


def check_transactions(server: Server) -> tuple[Finding, Finding]:
    """Long and prepared transactions.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        return _long_transactions(server), _prepared_transactions(server)
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for long transactions") from None


def _long_transactions(server: Server) -> Finding:
    check = "long_transactions"
    with server.session.cursor(row_factory=class_row(_LongTransaction)) as cursor:
        found = cursor.execute(
            _LONG_TRANSACTIONS, {"seconds": LONG_TRANSACTION_SECONDS, "characters": _QUERY_HEAD_CHARACTERS}
        ).fetchall()
    if found:
        first = found[0]
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        application = f", {first.application}" if first.application else ""
        return trouble(
            check,
            Side.SOURCE,
            Verdict.WARNING,
            f"pid {first.pid} ({first.role}{application}) has been writing for {first.age_seconds:.0f} s: "
            f"{first.query}{others}",
            "A replication slot is ready only when every transaction that was writing has ended, in any "
            "database of the server; until then the copy does not start",
            # What it has done so far would be lost: never at the press of a key.
            remedy=Fix(words=f"Let it end, or: select pg_terminate_backend({first.pid});"),
        )
    hidden = server.session.execute(_HIDDEN_SESSIONS).fetchone()
    if hidden is not None and hidden[0]:
        return trouble(
            check,
            Side.SOURCE,
            Verdict.UNKNOWN,
            f"role {server.role} may not see the transactions of {hidden[0]} other sessions",
            "A replication slot is ready only when every transaction that was writing has ended",
            remedy=server.advisor.right("see_sessions"),
        )
    return ok(check, Side.SOURCE, "none")


def _prepared_transactions(server: Server) -> Finding:
    with server.session.cursor(row_factory=class_row(_PreparedTransaction)) as cursor:
        found = cursor.execute(_PREPARED_TRANSACTIONS).fetchall()
    if not found:
        return ok("prepared_transactions", Side.SOURCE, "none")
    first = found[0]
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return trouble(
        "prepared_transactions",
        Side.SOURCE,
        Verdict.WARNING,
        f"{first.gid!r} of {first.role} in database {first.database}, "
        f"prepared {first.age_seconds:.0f} s ago{others}",
        "A replication slot is ready only when every prepared transaction has been committed or rolled back",
        remedy=by_hand("Commit or roll it back in that database: commit prepared … or rollback prepared …"),
    )
