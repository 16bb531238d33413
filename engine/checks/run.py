"""All checks of both servers in one call."""

from __future__ import annotations

from engine.checks.capacity import check_room, check_slots
from engine.checks.columns import check_columns
from engine.checks.extensions import check_extensions
from engine.checks.finding import Finding, Verdict
from engine.checks.forecast import check_target_room, check_wal_forecast, database_size_bytes, look_at_wal
from engine.checks.pair import check_pair
from engine.checks.report import CheckReport, ServerReport
from engine.checks.restart import read_start
from engine.checks.rights import check_rights
from engine.checks.server import Server, check_server, look_at
from engine.checks.source import read_source_facts
from engine.checks.tables import SourceTables, check_tables, read_source_tables
from engine.checks.target import check_target, check_target_empty
from engine.checks.timescaledb import check_timescaledb
from engine.checks.transactions import check_transactions
from engine.checks.trial import check_one_server, check_replication_connection
from engine.checks.wal import check_wal
from engine.connection.endpoint import Endpoint
from engine.connection.session import open_session
from engine.providers.detect import detect_provider

_URGENCY = {Verdict.BLOCKS: 0, Verdict.UNKNOWN: 1, Verdict.WARNING: 2, Verdict.OK: 3}


def run_checks(
    source: Endpoint,
    target: Endpoint,
    *,
    sync_workers: int = 4,
    source_provider: str | None = None,
    target_provider: str | None = None,
) -> CheckReport:
    """Check both servers over sessions of its own.

    Takes a second or more.

    Args:
        source: Where the rows are.
        target: Where they go.
        sync_workers: How many tables are to be copied at a time.
        source_provider: Whose server the source is, None to find out.
        target_provider: Whose server the target is, None to find out.

    Raises:
        ConnectionFailedError: A server cannot be reached or refuses the login.
        UsageError: There is no provider of that name.
        EngineError: A server could not be read.
    """
    with open_session(source, "check") as source_session, open_session(target, "check") as target_session:
        source_server = look_at(source_session, source, source_provider)
        target_server = look_at(target_session, target, target_provider)
        servers = _report(source_server), _report(target_server)
        first_look = look_at_wal(source_server)
        size_bytes = database_size_bytes(source_server)
        tables = read_source_tables(source_server)
        facts = read_source_facts(source_session)
        findings = (
            *check_server(source_server),
            check_one_server(source_server),
            *check_wal(source_server, facts),
            *check_slots(source_server, facts, sync_workers),
            *check_room(source_server, sync_workers, len(tables.tables)),
            *check_transactions(source_server),
            *check_rights(source_server, facts, tables.tables),
            *check_tables(source_server, tables),
            *check_replication_connection(source_server, facts),
            *_check_target(source_server, target_server, tables, sync_workers),
            check_target_room(target_server, size_bytes),
            *check_wal_forecast(source_server, facts, size_bytes, first_look),
        )
    return CheckReport(tuple(sorted(findings, key=lambda finding: _URGENCY[finding.verdict])), *servers)


def _report(server: Server) -> ServerReport:
    taken_for = server.detected
    own_signs = detect_provider(server.traits) if taken_for.is_override else taken_for
    return ServerReport(
        side=server.side,
        detected=own_signs.provider.title,
        evidence=own_signs.evidence,
        named=taken_for.provider.title if taken_for.is_override else "",
        started_at=read_start(server.session, server.side).started_at,
    )


def _check_target(
    source: Server, target: Server, tables: SourceTables, sync_workers: int
) -> tuple[Finding, ...]:
    names = [table.name for table in tables.tables if not table.is_partition]
    return (
        *check_server(target),
        check_one_server(target),
        *check_target(target),
        *check_room(target, sync_workers, tables.relations),
        *check_pair(source, target),
        *check_extensions(source, target),
        *check_timescaledb(source, target),
        check_columns(source, target, names),
        check_target_empty(target, names),
    )
