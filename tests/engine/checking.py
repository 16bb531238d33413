"""Runs the checks between test databases, and holds every finding to what all of them promise."""

from __future__ import annotations

import secrets
from urllib.parse import quote

import pytest

from engine.checks.finding import Finding, Verdict
from engine.checks.run import run_checks
from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.errors import Side
from tests.conftest import Database

ROLE_PASSWORD = secrets.token_urlsafe(12)
"""Of every role that these tests make."""

Findings = dict[tuple[Side, str], Finding]


def endpoint(database: Database, side: Side, user: str | None = None) -> Endpoint:
    """A database as the superuser, or as ``user``."""
    if user is None:
        return parse_endpoint(side, database.conninfo)
    where = f"127.0.0.1:{database.server.port}/{database.name}"
    return parse_endpoint(side, f"postgresql://{quote(user)}:{ROLE_PASSWORD}@{where}")


def require_sound(finding: Finding) -> None:
    """What a finding must have, whatever it found."""
    assert finding.found
    assert (finding.verdict is not Verdict.OK) == bool(finding.why and finding.fix), finding
    assert finding.fix == ("" if finding.remedy is None else finding.remedy.text())


def checked(source: Endpoint, target: Endpoint, *, sync_workers: int = 4) -> Findings:
    """All findings by side and name."""
    with pytest.MonkeyPatch.context() as patch:
        # How much WAL is written meanwhile is asked by one test only, which writes some.
        patch.setattr("engine.checks.forecast.LOOK_SECONDS", 0.0)
        findings = run_checks(source, target, sync_workers=sync_workers).findings
    order = [Verdict.BLOCKS, Verdict.UNKNOWN, Verdict.WARNING, Verdict.OK]
    urgency = [order.index(finding.verdict) for finding in findings]
    assert urgency == sorted(urgency), "what blocks comes first"
    for finding in findings:
        require_sound(finding)
    by_name = {(finding.side, finding.check): finding for finding in findings}
    assert len(by_name) == len(findings)
    return by_name


def checked_databases(source: Database, target: Database, *, sync_workers: int = 4) -> Findings:
    """The same between databases, as the superuser of each."""
    return checked(endpoint(source, Side.SOURCE), endpoint(target, Side.TARGET), sync_workers=sync_workers)


def not_ok(findings: Findings) -> dict[tuple[Side, str], Verdict]:
    """What is not as it should be."""
    return {key: finding.verdict for key, finding in findings.items() if finding.verdict is not Verdict.OK}


def apply(database: Database, finding: Finding) -> None:
    """Run the statements of a finding's fix, one by one, as the superuser."""
    assert finding.remedy is not None
    assert finding.remedy.sql
    for statement in finding.remedy.sql:
        database.execute(statement)
