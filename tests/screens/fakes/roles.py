"""Roles without servers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.connection.secret import Secret
from engine.errors import Failure
from engine.roles.planned import RolePlan, RoleReview, Standing
from engine.script.planned import Script, ScriptStatement, apart, placeholder


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

    def plan(self) -> RolePlan | Failure:
        self.plans += 1
        return self.planned

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
