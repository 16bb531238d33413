"""The step User: a role of its own for the migration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from engine.checks.finding import Finding, Verdict
from engine.errors import Failure, Side
from engine.roles.migration_role import DEFAULT_NAME, MigrationUserPlan
from engine.script.planned import Script, ScriptResult, StatementResult
from screens.action_button import ActionButton
from screens.finding_text import blocking, finding_parts, finding_text
from screens.fitted_table import Column
from screens.format import cell, plain, visible, visible_lines
from screens.migration import Step
from screens.modals.password import PasswordModal
from screens.modals.secret import SecretModal
from screens.script_step import OtherRow, ScriptScreen
from screens.services import MigrationServices
from screens.start import asks_for_password

_HELP = """
A role of its own for the migration can be told apart in the source's logs, and taken away afterwards. The
script makes it with a generated password, lets it read all user schemas and what is made in them later, and
gives it the right to replicate, all the way this provider wants it. The step can be passed over: then the
role of the connection is used.

x runs the script as the role of the connection. k then logs in as the new role, tries what it may do, and
uses the source as that role from there on; o lists what was found. A role that was there before can be used
too: give its name, and its password when asked.

The generated password is in this program's memory and nowhere else. p shows it or sends it to the terminal's
clipboard, as a line for ~/.pgpass. When this migration is resumed later, the password is asked for, unless
~/.pgpass has it. When it is lost, n plans a new one, and x sets it.

u takes a role that was made here away, with all that it was granted; what it owns, such as the publication,
passes to the role of the connection, which is used again.
"""

_WORDS = {
    Verdict.OK: ("✓ ok", "good"),
    Verdict.WARNING: ("! warning", "warn"),
    Verdict.BLOCKS: ("✗ blocks", "bad"),
    Verdict.UNKNOWN: ("? unknown", "warn"),
}


class UserScreen(ScriptScreen[MigrationUserPlan]):
    """Shows what the migration's role lacks, and switches to it."""

    STEP = Step.USER
    QUESTION = "Shall the migration have a role of its own on the source?"
    HELP_TEXT = _HELP
    SIDE: ClassVar[Side] = Side.SOURCE
    PLANNING: ClassVar[str] = "looking at the migration's role"
    CAN_UNDO: ClassVar[bool] = True
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "script_step.tcss", "user.tcss"]
    OTHER_COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("State", "state", width=10),
        Column("Check", "check", width=18),
        Column("Found", "found", weight=1),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "use", "Use role", id="user.use", tooltip="Log in as the role from now on."),
        Binding("o", "other", "Checks", id="user.other", tooltip="List what was tried, or statements."),
        Binding("n", "new_password", "Renew", id="user.new", show=False, tooltip="Plan a new password."),
        Binding("p", "password", "Password", id="user.password", show=False, tooltip="Show or copy it."),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._findings: tuple[Finding, ...] = ()
        migration = services.migration
        created = migration.created_user
        self._role_name = migration.migration_user or (DEFAULT_NAME if created is None else created.name)
        """As it is typed."""

        self._wants_new_password = False

    def compose_head(self) -> Iterable[Widget]:
        with Horizontal(classes="row"):
            yield Static("Role", classes="label", markup=False)
            typed = Input(value=self._role_name, id="role", compact=True)
            typed.cursor_blink = False
            yield typed
            yield ActionButton("Use this role", id="use", classes="-act")

    # The plan.

    @on(Input.Changed, "#role")
    def _renamed(self, event: Input.Changed) -> None:
        self._role_name = event.value
        self._show_use()
        self.redraw_frame()

    @on(Input.Submitted, "#role")
    def _named(self) -> None:
        self.show_other(False)
        self.query_one("#statements").focus()
        self.action_plan()

    def make_plan(self) -> MigrationUserPlan | Failure:
        return self.services.user.plan(self._role_name, new_password=self._wants_new_password)

    def scripts_of(self, planned: MigrationUserPlan) -> tuple[Script, ...]:
        return (planned.script,)

    def action_plan(self) -> None:
        self._wants_new_password = False
        super().action_plan()

    def action_new_password(self) -> None:
        if self.planned is None or not self.planned.already_there or self.jobs.running:
            self.notify("There is no such role yet.", markup=False)
            return
        self.show_other(False)
        self._wants_new_password = True
        super().action_plan()

    def plan_changed(self) -> None:
        self._show_use()

    def planning_failed(self, failure: Failure) -> None:
        endpoint = self.services.endpoint(Side.SOURCE)
        if self.services.migration.migration_user and asks_for_password(failure):
            where = f"The role that makes and removes the migration's own: {endpoint}"
            self.app.push_screen(PasswordModal("source", where, failure.title), self._first_password_given)

    def _first_password_given(self, password: str | None) -> None:
        if password is not None:
            self.services.user.give_first_password(password)
            self.action_plan()

    def state_lines(self) -> list[Content]:
        planned = self.planned
        migration = self.services.migration
        if migration.migration_user:
            used = f"✓ The source is used as {migration.migration_user}."
            return [plain(used, "$text-success")]
        if planned is None or not planned.already_there or planned.name != self._role_name:
            return []
        return [plain(f"{planned.name} is there; k uses it.")]

    # Running.

    def run_file(self, name: str) -> ScriptResult | Failure:
        assert self.planned is not None  # Its file is there.
        return self.services.user.run(self.planned)

    def applied(self, results: Sequence[StatementResult]) -> None:
        self._wants_new_password = False

    def undo_script(self) -> Script | Failure | None:
        return self.services.user.plan_removal()

    def run_undo(self, script: Script) -> ScriptResult | Failure:
        return self.services.user.remove(script)

    def undone(self, results: Sequence[StatementResult]) -> None:
        self._findings = ()
        self.show_other(False)

    # Using it.

    def _can_use(self) -> bool:
        planned = self.planned
        return (
            planned is not None
            and planned.already_there
            and planned.password is None
            and planned.name == self._role_name
            and not self.services.dry_run
        )

    def _show_use(self) -> None:
        self.query_one("#use", ActionButton).turn_off(not self._can_use())
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "use":
            return True if self._can_use() and not self.jobs.running else None
        if action == "other":
            return True if self._findings else None
        if action == "apply" and self.planned is not None and self.planned.name != self._role_name:
            return None
        return super().check_action(action, parameters)

    @on(Button.Pressed, "#use")
    def _use_pressed(self) -> None:
        self.action_use()

    def action_use(self) -> None:
        if self.check_action("use", ()):
            self._use(None)

    def _use(self, password: str | None) -> None:
        self.notice(None)
        name = self._role_name
        self.start_job(
            "use", f"logging in as {name}", partial(self.services.user.use, name, password), self._used
        )

    def _used(self, findings: tuple[Finding, ...] | Failure) -> None:
        if isinstance(findings, Failure):
            self.notice(findings)
            return
        self._findings = findings
        self.show_other(True)
        self._show()
        blocks = blocking(findings)
        if not blocks:
            return
        self.notice(
            Failure(
                f"{self._role_name} cannot do the migration's work",
                f"{blocks[0].check}: {blocks[0].found}",
                blocks[0].fix or "n plans a new password, which x sets",
                side=Side.SOURCE,
            )
        )
        if blocks[0].check == "role_login" and "password" in blocks[0].found.lower():
            modal = PasswordModal("source", f"The role {self._role_name}", blocks[0].found)
            self.app.push_screen(modal, self._password_given)

    def _password_given(self, password: str | None) -> None:
        if password:
            self._use(password)

    def action_password(self) -> None:
        line = self.services.user.password_file_line(self._role_name)
        if line is None:
            self.notify("The password of this role is not known here; n plans a new one.", markup=False)
            return
        about = (
            f"A line for ~/.pgpass with the password of {visible(self._role_name)}. It is in this program's "
            "memory and nowhere else; what you do with it is up to you."
        )
        self.app.push_screen(SecretModal("Password of the role", about, line))

    # What was found.

    def other_rows(self) -> Sequence[OtherRow]:
        return [self._row(finding) for finding in self._findings]

    def _row(self, finding: Finding) -> OtherRow:
        word, tone = _WORDS[finding.verdict]
        parts = [("", finding.found), *finding_parts(finding)]
        texts = [
            Text(f"{heading}: {visible_lines(text)}" if heading else visible_lines(text), overflow="fold")
            for heading, text in parts
        ]
        return OtherRow(
            {
                "state": cell(word, self.tone(tone)),
                "check": cell(finding.check),
                "found": cell(finding.found),
            },
            Group(*texts),
            finding_text(finding),
        )

    # The gate.

    def next_blocked(self) -> str | None:
        return None
