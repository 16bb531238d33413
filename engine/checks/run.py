"""All checks of both servers in one call."""

from __future__ import annotations

from engine.checks.finding import Finding, Verdict
from engine.checks.pair import check_pair
from engine.checks.source import check_source
from engine.checks.target import check_target
from engine.connection.endpoint import Endpoint
from engine.connection.session import open_session
from engine.errors import EngineError, Side


def run_checks(source: Endpoint, target: Endpoint, *, sync_workers: int = 4) -> tuple[Finding, ...]:
    """Check both servers over sessions of its own; what blocks comes first.

    Args:
        source: Where the rows are.
        target: Where they go.
        sync_workers: How many tables are to be copied at a time.

    Raises:
        ConnectionFailedError: A server cannot be reached or refuses the login.
        EngineError: A server could not be read.
    """
    with open_session(source, "check") as source_session:
        found_on_source = (
            *check_source(source_session, sync_workers=sync_workers),
            _replication_connection(source),
        )
        with open_session(target, "check") as target_session:
            findings = (
                *found_on_source,
                *check_target(target_session),
                *check_pair(source_session, target_session),
            )
    return tuple(sorted(findings, key=lambda finding: finding.verdict is not Verdict.BLOCKS))


def _replication_connection(source: Endpoint) -> Finding:
    """Try a replication connection for real: poolers, proxies and allow lists may refuse only these."""
    check = "replication_connection"
    try:
        with open_session(source, "check", replication=True):
            return Finding(check, Side.SOURCE, Verdict.OK, "accepted")
    except EngineError as error:
        return Finding(
            check,
            Side.SOURCE,
            Verdict.BLOCKS,
            f"refused: {error.failure.detail or error.failure.title}",
            "Changes are read over a replication connection; an ordinary one works, this one does not",
            error.failure.hint or "Use the direct (not pooled) host and port of the primary",
        )
