"""What the source writes into its WAL, how long it keeps it, and to whom it gives it out."""

from __future__ import annotations

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.checks.source import SourceFacts
from engine.errors import Side
from engine.providers.fix import Fix

SHORT_SENDER_TIMEOUT_MS = 30_000
"""The reader answers every few seconds, but a stalled network may take as long as this to come back."""

_USUAL_SENDER_TIMEOUT_MS = 60_000


def check_wal(server: Server, facts: SourceFacts) -> tuple[Finding, ...]:
    """The checks of the source's WAL, in the order they are shown."""
    findings = [
        _wal_level(server, facts),
        _sender_timeout(server, facts),
    ]
    if facts.output_plugin_libraries is not None:
        findings.append(_output_plugin(facts.output_plugin_libraries))
    if facts.idle_slot_timeout is not None:
        findings.append(_idle_slot_timeout(server, facts.idle_slot_timeout))
    return tuple(findings)


def _wal_level(server: Server, facts: SourceFacts) -> Finding:
    if facts.wal_level == "logical":
        return ok("wal_level", Side.SOURCE, "logical")
    return trouble(
        "wal_level",
        Side.SOURCE,
        Verdict.BLOCKS,
        facts.wal_level,
        "Without wal_level = logical the WAL lacks what is needed to replicate row changes",
        remedy=server.advisor.setting("wal_level", "logical"),
    )


def _sender_timeout(server: Server, facts: SourceFacts) -> Finding:
    found = f"{facts.wal_sender_timeout_ms / 1000:g} s" if facts.wal_sender_timeout_ms else "off"
    if not 0 < facts.wal_sender_timeout_ms < SHORT_SENDER_TIMEOUT_MS:
        return ok("wal_sender_timeout", Side.SOURCE, found)
    role = server.advisor.role
    # Every role may set it for its own sessions (PostgreSQL 20.6.1), whoever the provider is.
    remedy = Fix(
        sql=(f"alter role {role} set wal_sender_timeout = '{_USUAL_SENDER_TIMEOUT_MS}'",), applicable=True
    )
    return trouble(
        "wal_sender_timeout",
        Side.SOURCE,
        Verdict.WARNING,
        found,
        "The source ends a replication connection that has been silent for this long; a short hiccup of the "
        "network then costs a new start of the stream",
        remedy=remedy,
    )


def _output_plugin(libraries: str) -> Finding:
    names = [name.strip().strip('"') for name in libraries.split(",")]
    if "pgoutput" in names:
        return ok("output_plugin", Side.SOURCE, "pgoutput is allowed")
    return trouble(
        "output_plugin",
        Side.SOURCE,
        Verdict.BLOCKS,
        f"output_plugin_libraries = {libraries or '(empty)'}",
        "Changes are read through the output plugin pgoutput, and the server refuses it",
        remedy=by_hand("Add pgoutput to output_plugin_libraries and reload the server's configuration"),
    )


def _idle_slot_timeout(server: Server, timeout: str) -> Finding:
    if timeout == "0":
        return ok("idle_replication_slot_timeout", Side.SOURCE, "off")
    return trouble(
        "idle_replication_slot_timeout",
        Side.SOURCE,
        Verdict.WARNING,
        timeout,
        "A migration that is paused or stopped for longer than this loses its slot and has to start over",
        remedy=server.advisor.setting("idle_replication_slot_timeout", 0),
    )
