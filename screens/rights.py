"""The step Rights: owners, privileges and settings as they are on the source."""

from __future__ import annotations

from typing import ClassVar

from engine.errors import Failure, Side
from engine.script.planned import Script
from screens.migration import Step
from screens.script_step import ScriptScreen

_HELP = """
Compares owners and privileges of every object, default privileges, and the settings of the database and its
roles, and generates privileges.sql and db_settings.sql with what the target lacks. What a cloud target
refuses is set apart with the reason.

Each line is a statement: space takes it out, i opens its file in your editor, x runs both files on the
target. Nothing is taken away that only the target has. There is no undo: an owner or a right that was there
before is not known any more once another took its place; the transcript has each statement that was run.

Views, materialized views, comments and row-level security policies are parts of the schema, and came with
the step Schema.
"""


class RightsScreen(ScriptScreen[tuple[Script, ...]]):
    """Shows what makes the target's rights and settings those of the source."""

    STEP = Step.RIGHTS
    QUESTION = "Who owns what, and who may do what, on the target?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.TARGET
    PLANNING: ClassVar[str] = "comparing owners, privileges and settings"

    def make_plan(self) -> tuple[Script, ...] | Failure:
        return self.services.rights.plan()

    def scripts_of(self, planned: tuple[Script, ...]) -> tuple[Script, ...]:
        return planned
