"""The step Roles: who may do what on the target has to exist there first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.content import Content

from engine.errors import Failure, Side
from engine.roles.planned import RolePlan, RoleReview, Standing
from engine.script.planned import Script, ScriptResult
from screens.fitted_table import Column
from screens.format import cell, plain, plural, visible
from screens.migration import Step
from screens.script_step import OtherRow, ScriptScreen

_HELP = """
Compares the roles of both sides and generates roles.sql: roles the target lacks, their attributes as far as
the target allows them, memberships. System roles and the provider's are left out, passwords are carried over
where the source lets them be read, and never shown.

Each line is a statement: space takes it out, i opens the file in your editor, x runs what is in the file on
the target. A role that exists is compared, never dropped, and keeps its password. o lists the roles in place
of the statements: how each stands on the target and why. There space leaves a whole role out, with all that
it is a member of, or takes it in again.

u drops the roles that were made here, and no other. PostgreSQL refuses to drop one that owns something or
was granted something since, and says what that is.
"""

_WORDS = {
    Standing.MISSING: ("○ missing", ""),
    Standing.DIFFERS: ("! differs", "warn"),
    Standing.SAME: ("✓ same", "good"),
    Standing.LEFT_OUT: ("- left out", "quiet"),
}


def review_about(review: RoleReview) -> str:
    """What is to be said of a role in a line."""
    if review.reason:
        return review.reason
    if review.differences:
        return "; ".join(review.differences)
    return " ".join(review.attributes)


def review_parts(review: RoleReview) -> list[tuple[str, str]]:
    """All that is known of a role, each under its heading."""
    parts = [
        ("Left out", review.reason),
        ("Attributes", " ".join(review.attributes) or "none"),
        ("Member of", ", ".join(review.member_of)),
        ("Different", "; ".join(review.differences)),
    ]
    if review.needs_password:
        parts.append(("Password", "hidden by the source: give it one on the target"))
    return [part for part in parts if part[1]]


class RolesScreen(ScriptScreen[RolePlan]):
    """Shows what makes the target's roles those of the source."""

    STEP = Step.ROLES
    QUESTION = "Which roles does the target need?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.TARGET
    PLANNING: ClassVar[str] = "comparing the roles"
    CAN_UNDO: ClassVar[bool] = True
    OTHER_COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("State", "state", width=10),
        Column("Role", "name", weight=2),
        Column("About", "about", weight=3),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "other", "Roles", id="roles.other", tooltip="List roles, or statements again."),
    ]

    def make_plan(self) -> RolePlan | Failure:
        return self.services.roles.plan()

    def scripts_of(self, planned: RolePlan) -> tuple[Script, ...]:
        return (planned.script,)

    def run_file(self, name: str) -> ScriptResult | Failure:
        assert self.planned is not None  # Its file is there.
        return self.services.roles.run(self.planned)

    def undo_script(self) -> Script | Failure | None:
        return self.services.roles.plan_removal()

    def run_undo(self, script: Script) -> ScriptResult | Failure:
        return self.services.roles.remove(script)

    def state_lines(self) -> list[Content]:
        counts = {standing: sum(one.standing is standing for one in self._reviews) for standing in Standing}
        said = ", ".join(f"{count} {standing.value}" for standing, count in counts.items() if count)
        lists = "the statements" if self.shows_other else "them"
        return [plain(f"{plural(len(self._reviews), 'role')}: {said}; o lists {lists}.")] if said else []

    @property
    def _reviews(self) -> Sequence[RoleReview]:
        return () if self.planned is None else self.planned.roles

    def other_rows(self) -> Sequence[OtherRow]:
        return [self._row(review) for review in self._reviews]

    def _row(self, review: RoleReview) -> OtherRow:
        word, tone = _WORDS[review.standing]
        parts = review_parts(review)
        return OtherRow(
            {
                "state": cell(word, self.tone(tone)),
                "name": cell(review.name),
                "about": cell(review_about(review), self.tone("quiet") if review.reason else ""),
            },
            Group(
                Text(visible(review.name), overflow="fold", style="bold"),
                *(Text(f"{heading:<12}{visible(text)}", overflow="fold") for heading, text in parts),
            ),
            "\n".join([review.name, *(f"{heading:<12}{text}" for heading, text in parts)]),
        )

    def action_leave_out(self) -> None:
        number = self.marked_other()
        if number is None:
            super().action_leave_out()
            return
        if self.jobs.running:
            return
        name = self._reviews[number].name
        left_out = self.services.migration.left_out_roles
        if name not in left_out and self._reviews[number].standing is Standing.LEFT_OUT:
            self.notify("This role is never carried over.", markup=False)
            return
        self.remember(
            left_out_roles=tuple(one for one in left_out if one != name)
            if name in left_out
            else (*left_out, name)
        )
        self.action_plan()
