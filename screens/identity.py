"""The step Identity: by what updates and deletes name their row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.types import CSSPathType

from engine.catalog.planned_identity import IdentityPlan, IdentityProposal
from engine.errors import Failure, Side
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement, StatementResult
from screens.format import plural
from screens.migration import Step
from screens.script_step import ScriptScreen
from screens.step_services.identity import FILE_NAME

_HELP = """
A table whose updates and deletes are published needs a replica identity: its primary key, another unique
index of columns that are never null, or the whole row. Without one they fail on the source as soon as it is
published, so the next step does not publish it.

Each line is a statement for one table, with why it is needed and what it costs; space takes one out, i opens
the file in your editor, x runs what is in it on the source, one by one. Each waits at most 3 s for its lock;
who holds it is said, and x tries again what is left.

What was there before is remembered first. u puts it back, as the cleanup at the end does: not while a
publication would make updates fail without it.
"""


class IdentityScreen(ScriptScreen[IdentityPlan]):
    """Gives tables the replica identity that their updates need."""

    STEP = Step.IDENTITY
    QUESTION = "By what do updates and deletes name their row?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.SOURCE
    PLANNING: ClassVar[str] = "looking at the replica identities"
    CAN_UNDO: ClassVar[bool] = True
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "script_step.tcss", "identity.tcss"]

    def make_plan(self) -> IdentityPlan | Failure:
        return self.services.identity.plan()

    def scripts_of(self, planned: IdentityPlan) -> tuple[Script, ...]:
        return (
            Script(
                FILE_NAME,
                "Replica identities of the chosen tables",
                tuple(_statement(proposal) for proposal in planned.proposals),
                tuple(
                    f"{one.table}: {one.now}"
                    for one in planned.tables
                    if not one.proposals and not one.problem
                ),
                tuple(f"{one.table}: {one.problem}" for one in planned.tables if one.problem),
            ),
        )

    def explain(self, statement: ScriptStatement) -> Sequence[str]:
        proposals = () if self.planned is None else self.planned.proposals
        found = next((one for one in proposals if one.about == statement.about), None)
        if found is None:
            return ()
        return (
            f"Why: {found.why}.",
            *(f"Mind: {cost}." for cost in found.costs),
            *(f"Or: {alternative}." for alternative in found.alternatives),
            f"Now: {found.now}.",
        )

    def run_file(self, name: str) -> ScriptResult | Failure:
        return self.services.identity.apply()

    def drops_edits_after(self, results: Sequence[StatementResult]) -> bool:
        return all(result.outcome is not Outcome.REFUSED for result in results)

    def undo_script(self) -> Script | Failure:
        return self.services.identity.plan_undo()

    def run_undo(self, script: Script) -> ScriptResult | Failure:
        return self.services.identity.undo()

    def undone(self, results: Sequence[StatementResult]) -> None:
        refused = [result for result in results if result.outcome is Outcome.REFUSED]
        if refused:
            said = "\n".join(f"{result.about}: {result.said}" for result in refused)
            self.notice(
                Failure(
                    f"{plural(len(refused), 'replica identity', 'replica identities')} not put back",
                    hint=said,
                    side=Side.SOURCE,
                )
            )

    def next_hint(self) -> str:
        without = (
            {proposal.table for proposal in self.planned.proposals} if self.planned is not None else set()
        )
        if self._failed is None and without and not self.services.dry_run:
            tables = plural(len(without), "table")
            return f"{tables} without identity: not to be published"
        return super().next_hint()


def _statement(proposal: IdentityProposal) -> ScriptStatement:
    right = proposal.missing_right
    apart = (
        "" if right is None else f"{right.what}. Let somebody who may run: {right.statement}; then look again"
    )
    return ScriptStatement(proposal.about, proposal.sql, apart)
