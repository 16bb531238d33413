"""Names who keeps a statement on a table from getting its lock."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg.rows import class_row

from engine.catalog.planned_identity import LockHolder
from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

# PostgreSQL 13.3.1: what SHARE UPDATE EXCLUSIVE, the lock of ALTER PUBLICATION, goes along with. The text
# of a session's query may hold a row's values or a password, so it is not read.
_HOLDERS = """
select l.pid, coalesce(a.usename::text, x.owner::text, '') as role,
       coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), x.gid, '')
           as application,
       coalesce(a.state, '') as state,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()
                                     - coalesce(a.xact_start, x.prepared)) as transaction_seconds
  from pg_catalog.pg_locks l
  join pg_catalog.pg_class c on c.oid = l.relation
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join unnest(%(schemas)s::text[], %(tables)s::text[]) as named(schema_name, table_name)
    on named.schema_name = n.nspname and named.table_name = c.relname
  left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  -- A prepared transaction has no process; what tells it from others is that it locks its own id.
  left join pg_catalog.pg_locks own
    on l.pid is null and own.pid is null and own.locktype = 'transactionid'
   and own.virtualtransaction = l.virtualtransaction
  left join pg_catalog.pg_prepared_xacts x on x.transaction = own.transactionid
 where l.locktype = 'relation' and l.granted
   and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
   and l.pid is distinct from pg_catalog.pg_backend_pid()
   and (%(is_exclusive)s or l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
 group by 1, 2, 3, 4, 5
 order by transaction_seconds desc nulls last, l.pid
"""


def lock_holders(
    session: Session, tables: Sequence[TableName], *, is_exclusive: bool
) -> tuple[LockHolder, ...]:
    """Who holds locks on ``tables`` now that our statement would wait for, longest transaction first.

    Args:
        session: On the source.
        tables: What the statement locks.
        is_exclusive: Whether it takes ACCESS EXCLUSIVE, as ALTER TABLE does, which waits for readers too;
            otherwise SHARE UPDATE EXCLUSIVE, as ALTER PUBLICATION does.

    Returns:
        Nobody when they are done by now.

    Raises:
        EngineError: The source could not be read.
    """
    parameters = {
        "schemas": [name.schema for name in tables],
        "tables": [name.table for name in tables],
        "is_exclusive": is_exclusive,
    }
    try:
        with session.cursor(row_factory=class_row(LockHolder)) as cursor:
            return tuple(cursor.execute(_HOLDERS, parameters).fetchall())
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for who holds a lock") from None


def hint_about(holders: Sequence[LockHolder]) -> str:
    """What to do after a statement did not get its lock."""
    if not holders:
        return "Another session used the table and has ended by now; try again"
    return f"Another session uses the table: {'; '.join(map(str, holders))}. Try again when it has ended"
