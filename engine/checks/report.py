"""What a run of the checks found out, as values that screens may hold. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.checks.finding import Finding
from engine.errors import Side


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One of the two servers as the checks took it."""

    side: Side
    detected: str
    """Title of the provider that its signs speak for, whatever a person said."""

    evidence: tuple[str, ...]
    """A clause for each kind of sign that speaks for ``detected``; at least one."""

    named: str
    """Title of the provider that a person named, for which the fixes are; empty when nobody did."""

    started_at: datetime
    """When the server was last started, by its own clock."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings, and whose servers they are about."""

    findings: tuple[Finding, ...]
    """What blocks comes first, what is good last."""

    source: ServerReport
    target: ServerReport

    def server(self, side: Side) -> ServerReport:
        """The report of one side."""
        return self.source if side is Side.SOURCE else self.target


@dataclass(frozen=True, slots=True)
class ServerStart:
    """Which start of a server this is, and what waits for the next one."""

    started_at: datetime
    """By the server's own clock."""

    pending_settings: tuple[str, ...]
    """Names of settings whose new value counts from the next start on."""
