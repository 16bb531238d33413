"""The step Identity: by what updates and deletes name their row."""

from __future__ import annotations

from typing import ClassVar

from engine.catalog.planned_identity import IdentityPlan
from engine.errors import Failure, Side
from engine.script.planned import Script, ScriptStatement
from screens.migration import Step
from screens.script_step import ScriptScreen

_HELP = """
A table whose updates and deletes are published needs a replica identity: its primary key, another unique
index of columns that are never null, or the whole row. Without one they fail on the source as soon as it is
published. Each line is a statement for one table, with what it costs.
"""


class IdentityScreen(ScriptScreen[IdentityPlan]):
    """Shows which tables need another replica identity."""

    STEP = Step.IDENTITY
    QUESTION = "By what do updates and deletes name their row?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.SOURCE
    PLANNING: ClassVar[str] = "looking at the replica identities"

    def make_plan(self) -> IdentityPlan | Failure:
        return self.services.identity.plan()

    def scripts_of(self, planned: IdentityPlan) -> tuple[Script, ...]:
        return (
            Script(
                "replica_identity.sql",
                "Replica identities of the chosen tables",
                tuple(
                    ScriptStatement(f"{one.relation}: {one.missing}", one.sql) for one in planned.proposals
                ),
                tuple(str(one.table) for one in planned.tables if not one.proposals and not one.problem),
                tuple(f"{one.table}: {one.problem}" for one in planned.tables if one.problem),
            ),
        )
