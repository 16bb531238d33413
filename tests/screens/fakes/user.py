"""The migration's role without a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.connection.secret import Secret
from engine.errors import Failure
from engine.roles.migration_role import DEFAULT_NAME, MigrationUserPlan
from engine.script.planned import Script, ScriptStatement, placeholder


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


@dataclass
class FakeUser:
    """UserServices for tests."""

    planned: MigrationUserPlan | Failure = field(default_factory=user_plan)

    def plan(self, name: str) -> MigrationUserPlan | Failure:
        return self.planned
