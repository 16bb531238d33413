"""The few checks that say at once whether these two addresses can be used at all."""

from __future__ import annotations

from engine.checks.finding import Finding, Verdict
from engine.checks.identity import read_identity
from engine.checks.pair import check_different
from engine.checks.server import Server, check_address, look_at
from engine.checks.trial import check_one_server
from engine.connection.endpoint import Endpoint
from engine.connection.session import open_session


def refused_addresses(
    source: Endpoint,
    target: Endpoint,
    *,
    source_provider: str | None = None,
    target_provider: str | None = None,
) -> tuple[Finding, ...]:
    """What stands against the two addresses: pooler, balancer, standby, old server, one database.

    Args:
        source: Where the rows are.
        target: Where they go.
        source_provider: Whose server the source is, None to find out.
        target_provider: Whose server the target is, None to find out.

    Returns:
        Findings that block, the source's first; :func:`engine.checks.run.run_checks` has them too.

    Raises:
        ConnectionFailedError: A server cannot be reached or refuses the login.
        UsageError: There is no provider of that name.
        EngineError: A server could not be read.
    """
    with open_session(source, "check") as source_session, open_session(target, "check") as target_session:
        source_server = look_at(source_session, source, source_provider)
        target_server = look_at(target_session, target, target_provider)
        findings = (
            *_address(source_server),
            *_address(target_server),
            check_different(
                read_identity(source_session, source.side), read_identity(target_session, target.side)
            ),
        )
    return tuple(finding for finding in findings if finding.verdict is Verdict.BLOCKS)


def _address(server: Server) -> tuple[Finding, ...]:
    return (*check_address(server), check_one_server(server))
