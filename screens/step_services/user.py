"""What the step User needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.checks.finding import Finding
from engine.connection.secret import Secret
from engine.errors import Failure
from engine.roles.migration_role import MigrationUserPlan
from engine.script.planned import Script, ScriptResult


class UserServices(Protocol):
    """The migration's own role on the source. It is made and removed as the role of the first connection."""

    def plan(self, name: str, *, new_password: bool = False) -> MigrationUserPlan | Failure:
        """What the role of that name lacks (blocking).

        Args:
            name: The role's.
            new_password: Whether a role that is there gets another password.
        """

    def run(self, planned: MigrationUserPlan) -> ScriptResult | Failure:
        """Run the plan's file as it is now (blocking). Remembers that the role is ours when it was made."""

    def password_file_line(self, name: str) -> Secret | None:
        """The role's line for ~/.pgpass, or None when its password is not known."""

    def give_first_password(self, password: str) -> None:
        """Use this password for the role that makes and removes the migration's; it stays in memory."""

    def use(self, name: str, password: str | None = None) -> tuple[Finding, ...] | Failure:
        """Try whether the role can do its work, and use the source as that role if so (blocking).

        Args:
            name: The role's.
            password: As a person typed it; None: the one that was generated, if it is known.
        """

    def plan_removal(self) -> Script | Failure:
        """What takes the role away again, when it was made here (blocking)."""

    def remove(self, script: Script) -> ScriptResult | Failure:
        """Run that, and go on as the role of the first connection (blocking)."""
