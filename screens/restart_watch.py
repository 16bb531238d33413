"""Follows a server whose restart is waited for: what is known of it, and how that is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from engine.checks.finding import Finding, Verdict
from engine.checks.report import ServerStart
from engine.errors import Failure, Side
from screens.finding_text import needs_restart
from screens.format import human_whole_seconds, plural

LOOK_SECONDS = 5.0
"""A restart takes seconds to minutes; each look is a new connection."""

_NAMED_CHECKS = 2
"""What fits beside the rest on a line of 80 columns."""


@dataclass(frozen=True, slots=True)
class RestartWatch:
    """One side of which something counts only from its next start on."""

    side: Side
    findings: tuple[Finding, ...]
    """Those whose fix counts after a restart."""

    set_checks: frozenset[str] = frozenset()
    """Names of the findings whose new value is set, as far as can be seen."""

    looked_monotonic_seconds: float | None = None
    silent: Failure | None = None
    """Why the last look got no answer."""

    @property
    def awaited(self) -> tuple[str, ...]:
        """Names of the findings that the next restart should fix."""
        names = tuple(finding.check for finding in self.findings)
        return tuple(name for name in names if name in self.set_checks) or names

    def is_due(self, now_monotonic_seconds: float) -> bool:
        """Whether it is time for the next look."""
        looked = self.looked_monotonic_seconds
        return looked is None or now_monotonic_seconds - looked >= LOOK_SECONDS

    def with_fix_applied(self, check: str) -> RestartWatch:
        """The same after the fix of one finding was applied."""
        return replace(self, set_checks=self.set_checks | {check})

    def looked(self, start: ServerStart | Failure, now_monotonic_seconds: float) -> RestartWatch:
        """The same after a look."""
        seen = replace(self, looked_monotonic_seconds=now_monotonic_seconds, silent=None)
        if isinstance(start, Failure):
            return replace(seen, silent=start)
        # A check may have another name than the setting; its fix names it.
        pending = {
            finding.check
            for finding in self.findings
            if any(name == finding.check or name in finding.fix for name in start.pending_settings)
        }
        return replace(seen, set_checks=self.set_checks | pending)

    def words(self, now_monotonic_seconds: float) -> str:
        """What is waited for, on one line."""
        side = self.side.value.capitalize()
        looked = self.looked_monotonic_seconds
        ago = "" if looked is None else f"; looked {human_whole_seconds(now_monotonic_seconds - looked)} ago"
        if self.silent is not None:
            return f"{side}: restarting? {self.silent.title}{ago}"
        names = self.awaited
        counts_then = "for" if self.set_checks.issuperset(names) else "once set:"
        named = ", ".join(names) if len(names) <= _NAMED_CHECKS else plural(len(names), "setting")
        return f"{side}: restart needed {counts_then} {named}{ago}"


def watch_for(side: Side, findings: Iterable[Finding], before: RestartWatch | None) -> RestartWatch | None:
    """What there is to wait for after a run of the checks, or None.

    Args:
        side: The server.
        findings: Of both sides.
        before: The watch until now, if there was one since the server's last start.
    """
    waiting = tuple(each for each in findings if each.side is side and needs_restart(each))
    if not waiting:
        return None
    return RestartWatch(side, waiting) if before is None else replace(before, findings=waiting)


def restarted_words(side: Side, awaited: Iterable[str], findings: Iterable[Finding]) -> tuple[str, bool]:
    """What a restart has changed, and whether that is all that was waited for."""
    names = frozenset(awaited)
    now = [finding for finding in findings if finding.side is side and finding.check in names]
    still = [finding for finding in now if finding.verdict is not Verdict.OK]
    if still:
        said = ", ".join(f"{finding.check} is still {finding.found}" for finding in still)
        return f"! The {side.value} was restarted, but {said}", False
    said = ", ".join(f"{finding.check} is {finding.found}" for finding in now)
    return f"✓ The {side.value} was restarted{f': {said}' if said else ''}", True
