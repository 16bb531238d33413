"""Looks whether the application could write to the target now."""

from __future__ import annotations

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_WHY_NOT = """
select case when pg_catalog.pg_is_in_recovery() then 'it is a standby'
            -- What our own session set aside.
            when s.reset_val = 'on' then 'default_transaction_read_only is on'
            when named.who is not null then 'default_transaction_read_only is on for ' || named.who
            else '' end
  from pg_catalog.pg_settings s
 cross join lateral (
       select pg_catalog.string_agg(
                  coalesce('role ' || pg_catalog.quote_ident(r.rolname), 'the database'), ', ')
         from pg_catalog.pg_db_role_setting d
         left join pg_catalog.pg_roles r on r.oid = d.setrole
        where d.setdatabase in (0, (select o.oid from pg_catalog.pg_database o
                                     where o.datname = pg_catalog.current_database()))
          and 'default_transaction_read_only=on' = any (d.setconfig)
       ) as named(who)
 where s.name = 'default_transaction_read_only'
"""


def why_not_writable(target: Session) -> str:
    """Why the application could not write there; empty when it can.

    Args:
        target: A session on the target.

    Raises:
        EngineError: The target could not be read.
    """
    try:
        row = target.execute(_WHY_NOT).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking whether it takes writes") from None
    return "" if row is None else str(row[0])
