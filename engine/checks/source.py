"""The settings and counts that decide whether the source can replicate."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_FACTS = """
select pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) as version,
       current_user::text as role,
       pg_catalog.quote_ident(current_user) as quoted_role,
       pg_catalog.pg_is_in_recovery() as is_standby,
       pg_catalog.current_setting('wal_level') as wal_level,
       r.rolsuper or r.rolreplication
       -- RDS and Aurora give the right through membership instead of the attribute.
       or exists (select from pg_catalog.pg_roles rds
                   where rds.rolname = 'rds_replication'
                     and pg_catalog.pg_has_role(rds.oid, 'member')) as can_replicate,
       pg_catalog.current_setting('max_replication_slots')::int as slots,
       (select pg_catalog.count(*) from pg_catalog.pg_replication_slots) as slots_used,
       (select pg_catalog.count(*)
          from pg_catalog.pg_replication_slots s
         where s.database = pg_catalog.current_database()
           and s.slot_name like 'live\\_sync\\_%') as slots_ours,
       pg_catalog.current_setting('max_wal_senders')::int as walsenders,
       (select pg_catalog.count(*) from pg_catalog.pg_stat_get_wal_senders()) as walsenders_used,
       (select pg_catalog.count(*)
          from pg_catalog.pg_stat_replication w
         where w.application_name like 'livesync-tui%') as walsenders_ours,
       (select s.setting::int from pg_catalog.pg_settings s
         where s.name = 'wal_sender_timeout') as wal_sender_timeout_ms,
       (select s.setting::int from pg_catalog.pg_settings s
         where s.name = 'max_slot_wal_keep_size') as slot_wal_keep_mb,
       pg_catalog.current_setting('output_plugin_libraries', true) as output_plugin_libraries,
       pg_catalog.current_setting('idle_replication_slot_timeout', true) as idle_slot_timeout
  from pg_catalog.pg_roles r
 where r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was read of the source."""

    version: str
    role: str
    quoted_role: str
    is_standby: bool
    wal_level: str
    can_replicate: bool
    slots: int
    slots_used: int
    slots_ours: int
    """Slots of this tool in this database; a table or the apply stream goes on using them."""

    walsenders: int
    walsenders_used: int
    walsenders_ours: int
    wal_sender_timeout_ms: int
    """0 is off."""

    slot_wal_keep_mb: int
    """-1 is unlimited."""

    output_plugin_libraries: str | None
    """Comma-separated, or None where the server has no such setting."""

    idle_slot_timeout: str | None
    """None before PostgreSQL 18."""


def read_source_facts(session: Session) -> SourceFacts:
    """Read what decides whether the source can replicate.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(SourceFacts)) as cursor:
            facts = cursor.execute(_FACTS).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its settings") from None
    assert facts is not None  # Every session's role is in pg_roles.
    return facts
