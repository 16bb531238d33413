"""The step User: a role of its own for the migration."""

from __future__ import annotations

from typing import ClassVar

from engine.errors import Failure, Side
from engine.roles.migration_role import DEFAULT_NAME, MigrationUserPlan
from engine.script.planned import Script
from screens.migration import Step
from screens.script_step import ScriptScreen

_HELP = """
A role of its own for the migration can be told apart in the source's logs, and taken away afterwards. The
script makes it with a generated password, lets it read all user schemas and what is made in them later, and
gives it the right to replicate. The step can be passed over: then the role of the connection is used.
"""


class UserScreen(ScriptScreen[MigrationUserPlan]):
    """Shows what the migration's role lacks."""

    STEP = Step.USER
    QUESTION = "Shall the migration have a role of its own on the source?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.SOURCE
    PLANNING: ClassVar[str] = "looking at the migration's role"

    def make_plan(self) -> MigrationUserPlan | Failure:
        return self.services.user.plan(self.services.migration.migration_user or DEFAULT_NAME)

    def scripts_of(self, planned: MigrationUserPlan) -> tuple[Script, ...]:
        return (planned.script,)
