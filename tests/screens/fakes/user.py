"""The migration's role without a server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.checks.finding import Finding, ok
from engine.connection.secret import Secret
from engine.errors import Failure, Side
from engine.roles.migration_role import DEFAULT_NAME, MigrationUserPlan
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement, StatementResult, placeholder
from tests.screens.fakes.scripts import FakeScripts


def user_plan(name: str = DEFAULT_NAME) -> MigrationUserPlan:
    """A role that is yet to be made."""
    script = Script(
        "migration_user.sql",
        f"The role {name}, with which the migration reads this database",
        (
            ScriptStatement(
                f"role {name}: logs in for the migration",
                f"CREATE ROLE {name} WITH LOGIN PASSWORD '{placeholder(1)}'",
            ),
            ScriptStatement(
                f"role {name}: reads the stream of changes", f"ALTER ROLE {name} WITH REPLICATION"
            ),
            ScriptStatement("schema public: may be looked into", f"GRANT USAGE ON SCHEMA public TO {name}"),
        ),
        secrets={placeholder(1): Secret("'SCRAM-SHA-256$hunter2'")},
    )
    return MigrationUserPlan(name, False, script, Secret("hunter2"))


def there(name: str = DEFAULT_NAME) -> MigrationUserPlan:
    """A role that lacks nothing."""
    return MigrationUserPlan(
        name, True, Script("migration_user.sql", "The role", (), (f"role {name}",)), None
    )


GOOD = tuple(
    ok(check, Side.SOURCE, found)
    for check, found in (
        ("role_login", f"logs in as {DEFAULT_NAME}"),
        ("role_replication", "opens a replication connection"),
        ("role_create", "may make the publication"),
        ("role_select", "reads all tables and sequences"),
        ("role_ownership", "may publish all tables"),
        ("role_row_security", "sees all rows"),
    )
)
REMOVAL = Script(
    "migration_user.sql",
    "Takes the role away",
    (
        ScriptStatement("its grants", f"DROP OWNED BY {DEFAULT_NAME}"),
        ScriptStatement("the role itself", f"DROP ROLE {DEFAULT_NAME}"),
    ),
)


@dataclass
class FakeUser:
    """UserServices for tests."""

    planned: MigrationUserPlan | Failure = field(default_factory=user_plan)
    scripts: FakeScripts | None = None
    """What runs its file."""

    findings: tuple[Finding, ...] | Failure = GOOD
    password: str = ""
    removal: Script | Failure = REMOVAL
    calls: list[str] = field(default_factory=list)

    def plan(self, name: str, *, new_password: bool = False) -> MigrationUserPlan | Failure:
        self.calls.append(f"plan {name}{' with a new password' if new_password else ''}")
        planned = self.planned
        if isinstance(planned, MigrationUserPlan) and new_password:
            return replace(user_plan(name), already_there=True)
        return planned

    def run(self, planned: MigrationUserPlan) -> ScriptResult | Failure:
        assert self.scripts is not None
        result = self.scripts.run(planned.script.file_name)
        if isinstance(result, ScriptResult) and not result.refused:
            self.planned = there(planned.name)
            self.password = "hunter2"
        return result

    def password_file_line(self, name: str) -> Secret | None:
        return Secret(f"db1.internal:5432:shop:{name}:{self.password}") if self.password else None

    def give_first_password(self, password: str) -> None:
        self.calls.append("password of the first role")

    def use(self, name: str, password: str | None = None) -> tuple[Finding, ...] | Failure:
        self.calls.append(f"use {name}{' with a password' if password else ''}")
        return self.findings

    def plan_removal(self) -> Script | Failure:
        return self.removal

    def remove(self, script: Script) -> ScriptResult | Failure:
        self.calls.append("remove")
        self.planned = user_plan()
        return ScriptResult(
            tuple(StatementResult(one.about, one.sql, Outcome.APPLIED) for one in script.to_run)
        )
