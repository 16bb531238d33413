"""Owners, privileges and settings without servers."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import Failure
from engine.script.planned import Script, ScriptStatement, apart


def rights_scripts() -> tuple[Script, ...]:
    """A few of each."""
    privileges = Script(
        "privileges.sql",
        "Owners and privileges that the target lacks",
        (
            ScriptStatement("table public.orders: owner app", "ALTER TABLE public.orders OWNER TO app"),
            ScriptStatement(
                "table public.orders: SELECT for reporting", "GRANT SELECT ON public.orders TO reporting"
            ),
        ),
        ("schema public",),
    )
    settings = Script(
        "db_settings.sql",
        "Settings of the database and its roles",
        (
            ScriptStatement("database tsdb: timezone", "ALTER DATABASE tsdb SET timezone TO 'Europe/Berlin'"),
            *apart(
                [
                    ScriptStatement(
                        "database tsdb: archive_mode", "ALTER DATABASE tsdb SET archive_mode TO 'on'"
                    )
                ],
                "the target refuses it: parameter cannot be set",
            ),
        ),
    )
    return privileges, settings


@dataclass
class FakeRights:
    """RightsServices for tests."""

    planned: tuple[Script, ...] | Failure = field(default_factory=rights_scripts)

    def plan(self) -> tuple[Script, ...] | Failure:
        return self.planned
