"""The step Roles: who may do what on the target has to exist there first."""

from __future__ import annotations

from typing import ClassVar

from engine.errors import Failure, Side
from engine.roles.planned import RolePlan
from engine.script.planned import Script
from screens.migration import Step
from screens.script_step import ScriptScreen

_HELP = """
Compares the roles of both sides and generates roles.sql: roles the target lacks, their attributes as far as
the target allows them, memberships. System roles and the provider's are left out, passwords are carried over
where the source lets them be read, and never shown.

Each line is a statement: space takes it out, i opens the file in your editor, x runs what is in the file on
the target. A role that exists is compared, never dropped, and keeps its password.
"""


class RolesScreen(ScriptScreen[RolePlan]):
    """Shows what makes the target's roles those of the source."""

    STEP = Step.ROLES
    QUESTION = "Which roles does the target need?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.TARGET
    PLANNING: ClassVar[str] = "comparing the roles"

    def make_plan(self) -> RolePlan | Failure:
        return self.services.roles.plan()

    def scripts_of(self, planned: RolePlan) -> tuple[Script, ...]:
        return (planned.script,)
