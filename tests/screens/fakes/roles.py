"""Roles without servers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.connection.secret import Secret
from engine.errors import Failure
from engine.roles.planned import RolePlan, RoleReview, Standing
from engine.script.planned import (
    Outcome,
    Script,
    ScriptResult,
    ScriptStatement,
    StatementResult,
    apart,
    placeholder,
)
from tests.screens.fakes.scripts import FakeScripts


def role_plan() -> RolePlan:
    """An application's roles, one of which the target has already."""
    script = Script(
        "roles.sql",
        "Roles of the source that the target lacks, and what differs",
        (
            ScriptStatement(
                "role app: made",
                f"CREATE ROLE app WITH LOGIN PASSWORD '{placeholder(1)}' CONNECTION LIMIT 40",
            ),
            ScriptStatement("role reporting: made", "CREATE ROLE reporting WITH NOLOGIN"),
            *apart(
                [ScriptStatement("role dba: is a superuser", "ALTER ROLE dba WITH SUPERUSER")],
                "the target refuses it: permission denied",
            ),
            ScriptStatement("role app: member of reporting", "GRANT reporting TO app"),
        ),
        ("role billing",),
        ("role etl may log in, and its password could not be read: give it one on the target",),
        {placeholder(1): Secret("'SCRAM-SHA-256$hunter2'")},
    )
    reviews = (
        RoleReview("app", Standing.MISSING, ("LOGIN", "CONNECTION LIMIT 40"), ("reporting",)),
        RoleReview("billing", Standing.SAME, ("LOGIN",), ()),
        RoleReview("dba", Standing.DIFFERS, ("SUPERUSER",), (), ("SUPERUSER",)),
        RoleReview("rdsadmin", Standing.LEFT_OUT, (), (), reason="a role of the provider"),
        RoleReview("reporting", Standing.MISSING, ("NOLOGIN",), ()),
    )
    return RolePlan(script, reviews, reads_passwords=True)


NO_ROLES = RolePlan(Script("roles.sql", "Roles of the source", (), ("role app",)), (), reads_passwords=True)


@dataclass
class FakeRoles:
    """RoleServices for tests."""

    planned: RolePlan | Failure = field(default_factory=role_plan)
    plans: int = 0
    scripts: FakeScripts | None = None
    """What runs their file."""

    created: tuple[str, ...] = ()
    """Roles that were made."""

    refuses_to_drop: str = ""
    removed: list[tuple[str, ...]] = field(default_factory=list)

    def plan(self) -> RolePlan | Failure:
        self.plans += 1
        return self.planned

    def run(self, planned: RolePlan) -> ScriptResult | Failure:
        assert self.scripts is not None
        return self.scripts.run(planned.script.file_name)

    def plan_removal(self) -> Script | Failure:
        statements = [ScriptStatement(f"role {name}: dropped", f"DROP ROLE {name}") for name in self.created]
        return Script("drop_roles.sql", "Takes away the roles that were made here", tuple(statements))

    def remove(self, script: Script) -> ScriptResult | Failure:
        self.removed.append(tuple(one.sql for one in script.to_run))
        said = self.refuses_to_drop
        outcome = Outcome.REFUSED if said else Outcome.APPLIED
        return ScriptResult(
            tuple(StatementResult(one.about, one.sql, outcome, said) for one in script.to_run)
        )

    def settle(self) -> None:
        """From now on nothing is missing."""
        if isinstance(self.planned, RolePlan):
            script = self.planned.script
            there = tuple(one.about for one in script.to_run)
            self.planned = replace(
                self.planned,
                script=replace(
                    script, statements=script.set_apart, already_there=(*script.already_there, *there)
                ),
            )
