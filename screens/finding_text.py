"""Findings, their fixes and whose servers they are about, in words. Pure, so that tests need no screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.checks.finding import Finding, Verdict
from engine.checks.report import CheckReport, ServerReport
from engine.errors import Failure, Side
from engine.script.planned import Outcome, StatementResult
from screens.format import plural

Part = tuple[str, str]
"""A heading and the text below it."""


def blocking(findings: Iterable[Finding]) -> list[Finding]:
    """Those that have to be fixed first."""
    return [finding for finding in findings if finding.verdict is Verdict.BLOCKS]


def needs_restart(finding: Finding) -> bool:
    """Whether its fix counts only after the server was restarted."""
    remedy = finding.remedy
    return finding.verdict is not Verdict.OK and remedy is not None and remedy.needs_restart


def can_be_applied(finding: Finding) -> bool:
    """Whether statements that this role may run fix it."""
    return finding.remedy is not None and finding.remedy.applicable and bool(finding.remedy.sql)


def counts_line(findings: Sequence[Finding]) -> str:
    """How many there are of each verdict."""
    counts = {verdict: sum(1 for each in findings if each.verdict is verdict) for verdict in Verdict}
    said = [
        f"{counts[Verdict.BLOCKS]} {'blocks' if counts[Verdict.BLOCKS] == 1 else 'block'}",
        f"{counts[Verdict.UNKNOWN]} unknown",
        plural(counts[Verdict.WARNING], "warning"),
        f"{counts[Verdict.OK]} ok",
    ]
    return f"{plural(len(findings), 'check')}: {', '.join(text for text in said if text[0] != '0')}"


def provider_words(server: ServerReport) -> str:
    """Whose server it is taken for and the first sign of it, on one line."""
    if server.named:
        return f"{server.named}, named by you (found out: {server.detected})"
    return f"{server.detected}: {server.evidence[0]}"


def evidence_text(report: CheckReport) -> str:
    """Every sign of whose servers these are."""
    parts = []
    for server in (report.source, report.target):
        signs = "\n".join(f"  · {sign}" for sign in server.evidence)
        parts.append(f"{server.side.value.capitalize()}\nFound out: {server.detected}, by\n{signs}")
        if server.named:
            parts[-1] += f"\nNamed by you: {server.named}; the fixes are written for it"
    return "\n\n".join(parts)


def fix_words(finding: Finding) -> str:
    """How it is fixed, in a word or two for the list."""
    if finding.verdict is Verdict.OK:
        return ""
    remedy = finding.remedy
    if remedy is None:
        return "by hand"
    if can_be_applied(finding):
        how = "x applies it"
    else:
        ways = (("SQL", remedy.sql), ("console", remedy.console), ("CLI", remedy.cli))
        how = ", ".join(way for way, text in ways if text) or "by hand"
    return f"{how}, restart" if remedy.needs_restart else how


def finding_parts(finding: Finding, results: Sequence[StatementResult] = ()) -> list[Part]:
    """Why a finding matters and what to do about it, under headings.

    Args:
        finding: The finding.
        results: What became of its statements, when they were run.
    """
    parts = [("Why", finding.why)]
    remedy = finding.remedy
    if remedy is None:
        if finding.fix:
            parts.append(("Fix", finding.fix))
    else:
        if remedy.sql:
            statements = "\n".join(f"{statement};" for statement in remedy.sql)
            parts.append(("x runs" if remedy.applicable else "SQL", statements))
            if not remedy.applicable:
                parts.append(("", "This role may not run it; one that may has to"))
        parts.append(("Console", remedy.console))
        parts.append(("CLI", remedy.cli))
        if remedy.needs_restart:
            parts.append(("Restart", f"Restart needed. {remedy.restart}"))
        parts.append(("Note" if remedy.sql or remedy.console or remedy.cli else "Fix", remedy.words))
    if results:
        parts.append(("Ran", "\n".join(result_line(result) for result in results)))
    return [part for part in parts if part[1]]


def result_line(result: StatementResult) -> str:
    """One statement and what became of it."""
    if result.outcome is Outcome.APPLIED:
        return f"✓ {result.sql};"
    code = f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""
    return f"✗ {result.sql}; {result.said}{code}"


def finding_text(finding: Finding, results: Sequence[StatementResult] = ()) -> str:
    """A finding with its reason and fix, for reading and for a file."""
    lines = [f"{finding.check} on the {finding.side.value}: {finding.verdict.value}"]
    lines.append(f"\nFound\n{finding.found}")
    for heading, text in finding_parts(finding, results):
        lines.append(f"\n{heading}\n{text}" if heading else f"({text})")
    return "\n".join(lines)


def refusal(side: Side, check: str, results: Sequence[StatementResult]) -> Failure | None:
    """What kept a fix from being applied, or None."""
    refused = next((result for result in results if result.outcome is not Outcome.APPLIED), None)
    if refused is None:
        return None
    return Failure(
        f"The {side.value} refused the fix for {check}",
        f"{refused.sql}: {refused.said}",
        "Run it as a role that may, or change it the way the finding tells; then press r",
        refused.sqlstate,
        side,
    )


def applied_words(side: Side, check: str, results: Sequence[StatementResult]) -> str:
    """That a fix was applied."""
    return f"✓ {check} on the {side.value}: ran {'; '.join(each.sql for each in results)}"
