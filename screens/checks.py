"""Step 3: whose servers these are, and whether one can be moved to the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Static

from engine.checks.finding import Finding, Verdict
from engine.checks.report import CheckReport, ServerStart
from engine.errors import Failure, Retry, Side
from engine.script.planned import StatementResult
from screens.finding_text import (
    applied_words,
    blocking,
    can_be_applied,
    counts_line,
    evidence_text,
    finding_parts,
    finding_text,
    fix_words,
    provider_words,
    refusal,
)
from screens.fitted_table import Column, FittedTable
from screens.format import cell, human_moment, plain, plural, visible, visible_lines
from screens.migration import Step
from screens.modals.confirm import ConfirmModal
from screens.modals.failure import failure_text
from screens.modals.provider import ProviderModal
from screens.modals.text import TextModal
from screens.restart_watch import RestartWatch, restarted_words, watch_for
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
Both servers are looked at, and what can be tried is tried: a replication connection, a slot that is gone
again at once. The checks change nothing.

What blocks has to be fixed before Next; a warning does not hold you up. The fix is written for the server's
provider, which is found out by its signs; v shows them all, p names another provider.

y copies the fix of the marked finding. x runs its statements where this role may run them, after showing
them, and checks again. Where a restart is needed, the server is looked at every few seconds from then on, and
the checks run again by themselves once it was restarted. r runs them again at any time.
"""

_WORDS = {
    Verdict.BLOCKS: ("✗ blocks", "bad"),
    Verdict.UNKNOWN: ("? unknown", "warn"),
    Verdict.WARNING: ("! warning", "warn"),
    Verdict.OK: ("✓ ok", "good"),
}

_COLUMNS = (
    Column("Verdict", "verdict", width=9),
    Column("Side", "side", width=6),
    Column("Check", "check", weight=2),
    Column("Found", "found", weight=4),
    Column("Fix", "fix", width=21, wide_only=True),
)

_LABEL_CELLS = 7


def _stands(failure: Failure) -> Failure:
    """A failure as it is here, where nothing is tried again by itself."""
    return replace(failure, retry=Retry.MANUAL) if failure.retry is Retry.TIMED else failure


class ChecksScreen(WizardScreen):
    """Runs the checks, applies fixes, follows restarts."""

    STEP = Step.CHECKS
    QUESTION = "Can the source be moved to the target?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "checks.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "run", "Re-run", id="checks.run", tooltip="Run all checks again."),
        Binding("x", "apply", "Apply", id="checks.apply", tooltip="Run the marked fix's SQL; asks first."),
        Binding("p", "provider", "Provider", id="checks.provider", tooltip="Say whose servers these are."),
        Binding("v", "evidence", "Evidence", id="checks.evidence", tooltip="By what these are known."),
        Binding(
            "w", "write", "Write", id="checks.write", show=False, tooltip="Write all findings to a file."
        ),
        Binding(
            "e", "error_details", "Error", id="checks.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._report: CheckReport | None = None
        self._failed: Failure | None = None
        """Why the last run of the checks came to nothing."""

        self._results: dict[tuple[Side, str], tuple[StatementResult, ...]] = {}
        """What became of the fixes that were applied here."""

        self._watches: dict[Side, RestartWatch] = {}
        self._restarted: dict[Side, tuple[str, ...]] = {}
        """Sides that were seen restarted since the last report, each with what was waited for."""

        self._outcome = Content("")
        """What the last fix or restart has brought."""

        self._drawn_says: Content | None = None

    def compose_body(self) -> Iterable[Widget]:
        for side in Side:
            yield Static("", id=f"{side.value}-provider", classes="server", markup=False)
        yield Static("", id="counts", markup=False)
        yield Static("", id="says", markup=False)
        yield Static("", id="empty", markup=False)
        yield FittedTable(_COLUMNS, id="findings")
        with VerticalScroll(id="detail-box"):
            yield Static("", id="detail", markup=False)

    def opened(self) -> None:
        self._show()
        self.action_run()

    def resized(self) -> None:
        if self._list.fit():
            self._fill()

    def tick(self) -> None:
        now = self.services.monotonic_seconds()
        if any(watch.is_due(now) for watch in self._watches.values()):
            self.poll()
        self._say()

    @property
    def _list(self) -> FittedTable:
        return self.query_one("#findings", FittedTable)

    @property
    def _findings(self) -> tuple[Finding, ...]:
        return () if self._report is None else self._report.findings

    def _marked(self) -> Finding | None:
        rows = self._list
        return self._findings[rows.cursor_row] if rows.cursor_row < len(self._findings) else None

    # Running.

    def action_run(self) -> None:
        if not self.jobs.running:
            self.notice(None)
            self._outcome = Content("")
            self._run()

    def _run(self) -> None:
        self.start_job("checks", "running the checks", self.services.run_checks, self._checked)
        self._show()

    def _checked(self, report: CheckReport | Failure) -> None:
        if isinstance(report, Failure):
            self._failed = _stands(report)
            self.notice(self._failed)
            self._show()
            return
        marked = self._marked()
        first = self._report is None
        self._failed = None
        self._report = report
        for side in Side:
            self._follow(side, report)
        self._show()
        self._fill()
        if marked is not None:
            self._mark_again(marked)
        if first:
            self._list.focus()

    def _follow(self, side: Side, report: CheckReport) -> None:
        """Wait for a restart where one is needed, and say what the one that was waited for has changed."""
        waited = self._restarted.pop(side, None)
        if waited is not None:
            words, is_all = restarted_words(side, waited, report.findings)
            self._outcome = plain(words, "$text-success" if is_all else "$text-warning")
        watch = watch_for(side, report.findings, None if waited else self._watches.get(side))
        if watch is None:
            self._watches.pop(side, None)
        else:
            self._watches[side] = watch

    def _mark_again(self, marked: Finding) -> None:
        """Put the cursor where it was; on top when what it was on has been fixed."""
        for row, finding in enumerate(self._findings):
            if (finding.side, finding.check) == (marked.side, marked.check):
                if finding.verdict is not Verdict.OK or marked.verdict is Verdict.OK:
                    self.call_after_refresh(self._list.move_cursor, row=row)
                return

    # Drawing.

    def _show(self) -> None:
        """All but the rows of the list."""
        report = self._report
        for side in Side:
            self.query_one(f"#{side.value}-provider", Static).update(self._provider_line(side))
        counts = self.query_one("#counts", Static)
        counts.display = report is not None
        if report is not None:
            counts.update(plain(counts_line(report.findings)))
        empty = self.query_one("#empty", Static)
        empty.display = report is None
        empty.update(
            "The checks look at both servers; nothing is changed."
            if self._failed is None
            else Content(visible_lines(failure_text(self._failed)))
        )
        self._list.display = report is not None
        self.query_one("#detail-box").display = report is not None
        self._say()

    def _provider_line(self, side: Side) -> Content:
        words = "being found out …" if self._report is None else provider_words(self._report.server(side))
        if self._report is None and self._failed is not None:
            words = "not known"
        return Content.assemble((f"{side.value.capitalize():8}", "bold"), visible(words))

    def _say(self) -> None:
        """What is waited for and what the last fix or restart has brought; drawn only when it has changed."""
        now = self.services.monotonic_seconds()
        lines = [plain(watch.words(now), "$text-warning") for watch in self._watches.values()]
        if self._outcome:
            lines.append(self._outcome)
        said = Content("\n").join(lines)
        if said != self._drawn_says:
            self._drawn_says = said
            says = self.query_one("#says", Static)
            says.display = bool(lines)
            says.update(said)

    def _fill(self) -> None:
        rows = self._list
        rows.fit()
        rows.clear()
        for index, finding in enumerate(self._findings):
            word, tone = _WORDS[finding.verdict]
            cells = {
                "verdict": cell(word, self.tone(tone)),
                "side": cell(finding.side.value),
                "check": cell(finding.check),
                "found": cell(finding.found),
                "fix": cell(fix_words(finding)),
            }
            rows.add(str(index), cells)
        self._show_detail()

    def _show_detail(self) -> None:
        finding = self._marked()
        if finding is None:
            return
        self.query_one("#detail", Static).update(self._detail(finding))
        self.query_one("#detail-box", VerticalScroll).scroll_home(animate=False)
        self.refresh_bindings()

    def _detail(self, finding: Finding) -> Group:
        """A finding for the pane below the list; what is wrapped stays beside its label."""
        word, tone = _WORDS[finding.verdict]
        heading = f"{word}: {finding.check} on the {finding.side.value}: {finding.found}"
        parts = Table.grid(padding=(0, 1))
        parts.add_column(width=_LABEL_CELLS, no_wrap=True)
        parts.add_column(overflow="fold")
        for label, text in finding_parts(finding, self._results_of(finding)):
            parts.add_row(Text(label, style=self.tone("quiet")), Text(visible_lines(text)))
        return Group(Text(visible(heading), style=self.tone(tone), overflow="fold"), parts)

    def _results_of(self, finding: Finding) -> tuple[StatementResult, ...]:
        return self._results.get((finding.side, finding.check), ())

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    def on_data_table_row_selected(self) -> None:
        finding = self._marked()
        if finding is not None:
            text = finding_text(finding, self._results_of(finding))
            title = f"Check: {visible(finding.check)}"
            self.app.push_screen(TextModal(title, text, "finding.txt", self.copy, large=True))

    # Whose servers.

    def action_evidence(self) -> None:
        if self._report is not None:
            text = evidence_text(self._report)
            self.app.push_screen(TextModal("Whose servers these are", text, "providers.txt", self.copy))

    def action_provider(self) -> None:
        migration = self.services.migration
        report = self._report
        modal = ProviderModal(
            self.services.providers(),
            {} if report is None else {side: report.server(side).detected for side in Side},
            {Side.SOURCE: migration.source_provider, Side.TARGET: migration.target_provider},
        )
        self.app.push_screen(modal, self._provider_named)

    def _provider_named(self, named: tuple[Side, str] | None) -> None:
        if named is None:
            return
        side, name = named
        self.remember(**{f"{side.value}_provider": name})
        self._run()

    # Fixing.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "apply":
            finding = None if self._report is None else self._marked()
            possible = finding is not None and can_be_applied(finding) and not self.jobs.running
            possible = possible and not self.services.dry_run
            return True if possible else None
        return super().check_action(action, parameters)

    def action_apply(self) -> None:
        finding = self._marked()
        if finding is None or finding.remedy is None or not self.check_action("apply", ()):
            return
        remedy = finding.remedy
        side = finding.side.value
        endpoint = self.services.endpoint(finding.side)
        text = "\n".join(f"{statement};" for statement in remedy.sql)
        text += f"\n\nThey run one by one on the {side}"
        text += "." if endpoint is None else f" ({endpoint.database} on {endpoint.host}, as {endpoint.user})."
        if remedy.needs_restart:
            text += f" What they set counts after a restart. {remedy.restart}"
        title = f"Run {plural(len(remedy.sql), 'statement')} for {visible(finding.check)}?"
        modal = ConfirmModal(title, text, act="Run", keep="Cancel")
        self.app.push_screen(modal, partial(self._apply, finding))

    def _apply(self, finding: Finding, confirmed: bool | None) -> None:
        if not confirmed or finding.remedy is None:
            return
        self.notice(None)
        self._outcome = Content("")
        # What an older run finds out is from before the fix.
        self.jobs.drop("checks")
        self.start_job(
            "apply",
            f"running the fix on the {finding.side.value}",
            partial(self.services.apply_fix, finding.side, finding.remedy.sql),
            partial(self._applied, finding),
        )

    def _applied(self, finding: Finding, results: tuple[StatementResult, ...] | Failure) -> None:
        side, check = finding.side, finding.check
        if isinstance(results, Failure):
            self.notice(_stands(results))
            return
        self._results[side, check] = results
        failure = refusal(side, check, results)
        self.notice(failure)
        if failure is None:
            self._outcome = plain(applied_words(side, check, results), "$text-success")
            if side in self._watches:
                self._watches[side] = self._watches[side].with_fix_applied(check)
        self._run()

    # Following a restart.

    def poll(self) -> None:
        """Look whether the servers that need a restart had one."""
        for side in self._watches:
            name = f"restart-{side.value}"
            if not self.jobs.running and not self.jobs.is_running(name):
                self.start_job(
                    name,
                    f"looking for the {side.value}'s restart",
                    partial(self.services.look_for_restart, side),
                    partial(self._looked, side),
                    quiet=True,
                )

    def _looked(self, side: Side, start: ServerStart | Failure) -> None:
        watch = self._watches.get(side)
        if watch is None or self._report is None:
            return
        self._watches[side] = watch.looked(start, self.services.monotonic_seconds())
        self._say()
        is_restarted = (
            isinstance(start, ServerStart) and start.started_at > self._report.server(side).started_at
        )
        if is_restarted and not self.jobs.running:
            self._restarted[side] = watch.awaited
            self.notice(None)
            self._run()

    # The frame.

    def copy_text(self) -> tuple[str, str] | None:
        """The fix alone, to be pasted where it is run; what there is to say where there is none."""
        finding = self._marked()
        if finding is None:
            return None
        return "fix.txt", finding.fix or finding_text(finding, self._results_of(finding))

    def action_write(self) -> None:
        if self._report is None:
            return
        everything = [f"{counts_line(self._findings)}, {human_moment(self.services.now())}"]
        everything.append(evidence_text(self._report))
        everything += [finding_text(finding, self._results_of(finding)) for finding in self._findings]
        written = self.services.write_file("checks.txt", "\n\n\n".join(everything) + "\n")
        if isinstance(written, Failure):
            self.notice(written)
        else:
            self.notify(f"Written to {written}", markup=False)

    def next_blocked(self) -> str | None:
        if self._report is None:
            return "the checks have not run; r runs them"
        if self._failed is not None:
            return "the checks could not be run again; r runs them"
        found = blocking(self._findings)
        if not found or self.services.dry_run:
            return None
        first = f"{found[0].check} on the {found[0].side.value}"
        return f"{first} blocks" if len(found) == 1 else f"{len(found)} checks block, first {first}"
