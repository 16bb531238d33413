"""The step Roles by keys: the list of roles, leaving one out, and dropping what was made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.pilot import Pilot

from engine.roles.planned import RolePlan, Standing
from screens.migration import Step
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.fakes.roles import role_plan
from tests.screens.scenario import WizardForTests, play, press, shown


def _at_roles() -> FakeServices:
    return FakeServices(migration=shop_migration(Step.ROLES))


def test_roles_are_listed_in_place_of_the_statements_with_all_that_is_known() -> None:
    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "CREATE ROLE app" in shown(app)
        assert "5 roles: 2 missing, 1 differs, 1 same, 1 left out" in shown(app)
        await press(pilot, "o")
        assert "CREATE ROLE app" not in shown(app)
        assert "Member of   reporting" in shown(app)
        await press(pilot, "down", "down")
        assert "Different   SUPERUSER" in shown(app)
        await press(pilot, "o")
        assert "CREATE ROLE app" in shown(app)

    play(walk, _at_roles(), Step.ROLES)


def test_space_leaves_a_role_out_and_takes_it_in_again_and_plans_anew() -> None:
    services = _at_roles()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "o", "space")
        assert services.migration.left_out_roles == ("app",)
        assert services.roles.plans == 2
        plan = role_plan()
        left_out = replace(plan.roles[0], standing=Standing.LEFT_OUT, reason="not wanted")
        services.roles.planned = replace(plan, roles=(left_out, *plan.roles[1:]))
        await press(pilot, "r", "space")
        assert services.migration.left_out_roles == ()
        assert services.migration.left_out_statements == ()

    play(walk, services, Step.ROLES)


def test_a_provider_s_role_cannot_be_taken_in() -> None:
    services = _at_roles()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "o", "down", "down", "down", "space")
        assert "This role is never carried over" in shown(app)
        assert services.migration.left_out_roles == ()

    play(walk, services, Step.ROLES)


def test_space_in_the_list_of_statements_leaves_a_statement_out() -> None:
    services = _at_roles()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "space")
        assert services.migration.left_out_statements == (("roles.sql", "role app: made"),)
        assert services.migration.left_out_roles == ()

    play(walk, services, Step.ROLES)


def test_undo_drops_only_what_was_made_here_and_says_what_postgresql_refused() -> None:
    services = _at_roles()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "u")
        assert "There is nothing to undo" in shown(app)
        services.roles.created = ("app",)
        services.roles.refuses_to_drop = "role cannot be dropped (owner of table public.orders)"
        await press(pilot, "u")
        assert "DROP ROLE app;" in shown(app)
        assert "DROP ROLE billing" not in shown(app)
        await press(pilot, "right", "enter")
        assert services.roles.removed == [("DROP ROLE app",)]
        assert "The target refused to undo 1 statement" in shown(app)
        await press(pilot, "e")
        assert "owner of table public.orders" in shown(app)

    play(walk, services, Step.ROLES)


def test_a_server_without_roles_has_no_list_to_break() -> None:
    services = _at_roles()
    script = replace(role_plan().script, statements=(), already_there=(), notes=())
    services.roles.planned = RolePlan(script, (), reads_passwords=True)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Nothing to do on the target" in shown(app)
        await press(pilot, "o", "space", "v", "escape", "y", "o", "space", "ctrl+n")
        assert app.step.STEP is Step.SCHEMA

    play(walk, services, Step.ROLES)
