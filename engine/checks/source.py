"""What the source must offer before anything is started, and what may go wrong later."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.checks.finding import Finding, Verdict
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

MINIMUM_SOURCE_VERSION = 130000
"""PostgreSQL 13 was the first to publish partitioned tables by their root."""

LONG_TRANSACTION_SECONDS = 60.0
"""Younger ones are likely to end before the first slot is made."""

_QUERY_HEAD_CHARACTERS = 60

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
       pg_catalog.current_setting('max_slot_wal_keep_size') as max_slot_wal_keep_size,
       pg_catalog.current_setting('output_plugin_libraries', true) as output_plugin_libraries,
       pg_catalog.current_setting('idle_replication_slot_timeout', true) as idle_slot_timeout
  from pg_catalog.pg_roles r
 where r.rolname = current_user
"""

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
class SourceFacts:
    """The settings and counts that decide whether the source can replicate."""

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
    max_slot_wal_keep_size: str
    output_plugin_libraries: str | None
    """Comma-separated, or None where the server has no such setting."""

    idle_slot_timeout: str | None
    """None before PostgreSQL 18."""


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


def check_source(session: Session, *, sync_workers: int) -> tuple[Finding, ...]:
    """All checks of the source, in the order they are shown.

    Args:
        session: On the source.
        sync_workers: How many tables are to be copied at a time.

    Raises:
        EngineError: The source could not be read.
    """
    facts = read_source_facts(session)
    findings = [
        _version(session.info.server_version, facts),
        _standby(facts),
        _wal_level(facts),
        _replication_right(facts),
        _slots(facts, sync_workers),
        _walsenders(facts, sync_workers),
        _wal_keep_size(facts),
    ]
    if facts.output_plugin_libraries is not None:
        findings.append(_output_plugin(facts.output_plugin_libraries))
    if facts.idle_slot_timeout is not None:
        findings.append(_idle_slot_timeout(facts.idle_slot_timeout))
    try:
        findings.append(_long_transactions(session, facts))
        findings.append(_prepared_transactions(session))
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for long transactions") from None
    return tuple(findings)


def _finding(check: str, verdict: Verdict, found: str, why: str = "", fix: str = "") -> Finding:
    return Finding(check, Side.SOURCE, verdict, found, why, fix)


def _version(version_number: int, facts: SourceFacts) -> Finding:
    found = f"PostgreSQL {facts.version}"
    if version_number >= MINIMUM_SOURCE_VERSION:
        return _finding("version", Verdict.OK, found)
    return _finding(
        "version",
        Verdict.BLOCKS,
        found,
        "Logical replication as it is used here needs PostgreSQL 13 or newer on the source",
        "Upgrade the source to PostgreSQL 13 or newer (pg_upgrade), then migrate",
    )


def _standby(facts: SourceFacts) -> Finding:
    if not facts.is_standby:
        return _finding("standby", Verdict.OK, "a primary")
    return _finding(
        "standby",
        Verdict.BLOCKS,
        "a standby (read replica)",
        "Publications and replica identities can only be made on the primary",
        "Use the connection string of the primary as --source",
    )


def _wal_level(facts: SourceFacts) -> Finding:
    if facts.wal_level == "logical":
        return _finding("wal_level", Verdict.OK, "logical")
    return _finding(
        "wal_level",
        Verdict.BLOCKS,
        facts.wal_level,
        "Without wal_level = logical the WAL lacks what is needed to replicate row changes",
        "alter system set wal_level = 'logical'; then restart the server "
        "(managed: in the provider's parameters; on RDS rds.logical_replication = 1)",
    )


def _replication_right(facts: SourceFacts) -> Finding:
    if facts.can_replicate:
        return _finding("replication_right", Verdict.OK, f"role {facts.role} may replicate")
    return _finding(
        "replication_right",
        Verdict.BLOCKS,
        f"role {facts.role} may not replicate",
        "Making a replication slot and reading from it needs the attribute REPLICATION",
        f"alter role {facts.quoted_role} with replication; "
        f"(on RDS: grant rds_replication to {facts.quoted_role};)",
    )


def _slots(facts: SourceFacts, sync_workers: int) -> Finding:
    # Slots of an earlier or running start are used again, so they do not count against this one.
    free = facts.slots - facts.slots_used + facts.slots_ours
    found = f"{free} free of {facts.slots}"
    if free > sync_workers:
        return _finding("replication_slots", Verdict.OK, found)
    needed = facts.slots - free + sync_workers + 1
    fix = (
        f"alter system set max_replication_slots = {needed}; then restart the server, "
        "or drop slots that nothing uses: select pg_drop_replication_slot(…)"
    )
    if free >= 2:
        return _finding(
            "replication_slots",
            Verdict.WARNING,
            found,
            f"One slot is for live changes and each table being copied needs one: only {free - 1} "
            f"of {sync_workers} sync workers can work at a time",
            fix,
        )
    return _finding(
        "replication_slots",
        Verdict.BLOCKS,
        found,
        "One slot is for live changes and each table being copied needs one, so at least 2 must be free",
        fix,
    )


def _walsenders(facts: SourceFacts, sync_workers: int) -> Finding:
    free = facts.walsenders - facts.walsenders_used + facts.walsenders_ours
    found = f"{free} free of {facts.walsenders}"
    if free > sync_workers:
        return _finding("walsenders", Verdict.OK, found)
    needed = facts.walsenders - free + sync_workers + 1
    why = "Live changes and each table being copied are sent by a walsender of their own"
    fix = f"alter system set max_wal_senders = {needed}; then restart the server"
    verdict = Verdict.WARNING if free >= 2 else Verdict.BLOCKS
    return _finding("walsenders", verdict, found, why, fix)


def _wal_keep_size(facts: SourceFacts) -> Finding:
    if facts.max_slot_wal_keep_size == "-1":
        return _finding("max_slot_wal_keep_size", Verdict.OK, "unlimited")
    return _finding(
        "max_slot_wal_keep_size",
        Verdict.WARNING,
        facts.max_slot_wal_keep_size,
        "When the target falls behind by more WAL than this, during a long copy or while replication is "
        "stopped, the source drops the WAL and the migration has to start over",
        "alter system set max_slot_wal_keep_size = -1; select pg_reload_conf(); "
        "(and watch the free disk space), or set it to more than is written during the whole copy",
    )


def _output_plugin(libraries: str) -> Finding:
    names = [name.strip().strip('"') for name in libraries.split(",")]
    if "pgoutput" in names:
        return _finding("output_plugin", Verdict.OK, "pgoutput is allowed")
    return _finding(
        "output_plugin",
        Verdict.BLOCKS,
        f"output_plugin_libraries = {libraries or '(empty)'}",
        "Changes are read through the output plugin pgoutput, and the server refuses it",
        "Add pgoutput to output_plugin_libraries and reload the server's configuration",
    )


def _idle_slot_timeout(timeout: str) -> Finding:
    if timeout == "0":
        return _finding("idle_replication_slot_timeout", Verdict.OK, "off")
    return _finding(
        "idle_replication_slot_timeout",
        Verdict.WARNING,
        timeout,
        "A migration that is paused or stopped for longer than this loses its slot and has to start over",
        "alter system set idle_replication_slot_timeout = 0; select pg_reload_conf();",
    )


def _long_transactions(session: Session, facts: SourceFacts) -> Finding:
    with session.cursor(row_factory=class_row(_LongTransaction)) as cursor:
        found = cursor.execute(
            _LONG_TRANSACTIONS, {"seconds": LONG_TRANSACTION_SECONDS, "characters": _QUERY_HEAD_CHARACTERS}
        ).fetchall()
    if found:
        first = found[0]
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        application = f", {first.application}" if first.application else ""
        return _finding(
            "long_transactions",
            Verdict.WARNING,
            f"pid {first.pid} ({first.role}{application}) has been writing for {first.age_seconds:.0f} s: "
            f"{first.query}{others}",
            "A replication slot is ready only when every transaction that was writing has ended, in any "
            "database of the server; until then the copy does not start",
            f"Let it end, or: select pg_terminate_backend({first.pid});",
        )
    hidden = session.execute(_HIDDEN_SESSIONS).fetchone()
    if hidden is not None and hidden[0]:
        return _finding(
            "long_transactions",
            Verdict.UNKNOWN,
            f"role {facts.role} may not see the transactions of {hidden[0]} other sessions",
            "A replication slot is ready only when every transaction that was writing has ended",
            f"grant pg_read_all_stats to {facts.quoted_role};",
        )
    return _finding("long_transactions", Verdict.OK, "none")


def _prepared_transactions(session: Session) -> Finding:
    with session.cursor(row_factory=class_row(_PreparedTransaction)) as cursor:
        found = cursor.execute(_PREPARED_TRANSACTIONS).fetchall()
    if not found:
        return _finding("prepared_transactions", Verdict.OK, "none")
    first = found[0]
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return _finding(
        "prepared_transactions",
        Verdict.WARNING,
        f"{first.gid!r} of {first.role} in database {first.database}, "
        f"prepared {first.age_seconds:.0f} s ago{others}",
        "A replication slot is ready only when every prepared transaction has been committed or rolled back",
        "Commit or roll it back in that database: commit prepared … or rollback prepared …",
    )
