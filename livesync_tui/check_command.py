"""``check``: can this source be moved to this target? Plain lines or JSON; no screen."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from engine.checks.finding import Finding, Verdict
from engine.checks.run import run_checks
from engine.connection.endpoint import parse_endpoint
from engine.errors import Side
from livesync_tui import output
from livesync_tui.cli import EXIT_BLOCKED, EXIT_DONE

_INDENT = " " * 17
_LABEL_WIDTH = 6


def check(options: argparse.Namespace) -> int:
    """Run all checks and print what they found; exit 3 when one blocks."""
    report = run_checks(
        parse_endpoint(Side.SOURCE, options.source or ""),
        parse_endpoint(Side.TARGET, options.target or ""),
        source_provider=options.provider,
    )
    findings = report.findings
    if options.json:
        output.document([_as_document(finding) for finding in findings])
    else:
        for finding in findings:
            _print_finding(finding)
        output.line(_summary(findings))
    blocked = any(finding.verdict is Verdict.BLOCKS for finding in findings)
    return EXIT_BLOCKED if blocked else EXIT_DONE


def _as_document(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "side": finding.side.value, "verdict": finding.verdict.value}


def _print_finding(finding: Finding) -> None:
    output.line(
        f"{finding.verdict.value:8} {finding.side.value:6}  {finding.check}: {output.one_line(finding.found)}"
    )
    if finding.verdict is Verdict.OK:
        return
    _print_part("why", (finding.why,))
    _print_part("fix", finding.fix.splitlines())


def _print_part(label: str, lines: tuple[str, ...] | list[str]) -> None:
    for number, text in enumerate(lines):
        output.line(f"{_INDENT}{'' if number else label:{_LABEL_WIDTH}}{output.one_line(text)}")


def _summary(findings: tuple[Finding, ...]) -> str:
    counts = {verdict: sum(1 for finding in findings if finding.verdict is verdict) for verdict in Verdict}
    return f"{len(findings)} checks: " + ", ".join(
        f"{count} {verdict.value}" for verdict, count in counts.items() if count
    )
