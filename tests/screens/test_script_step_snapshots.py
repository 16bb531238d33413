"""What the steps User, Roles and Rights look like: empty, as usual, at their worst, and when they failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.checks.finding import Verdict
from engine.errors import Failure, Retry
from engine.roles.migration_role import MigrationUserPlan
from engine.roles.planned import RolePlan, RoleReview, Standing
from engine.script.planned import Script, ScriptStatement, apart
from screens import wizard
from screens.migration import Step
from tests.screens.fake_services import FakeServices, shop_migration
from tests.screens.fakes.roles import NO_ROLES
from tests.screens.fakes.user import GOOD, there
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
steps = pytest.mark.parametrize("step", [Step.USER, Step.ROLES, Step.RIGHTS], ids=lambda step: step.value)

_NASTY = "w[/]x [red]y[/red] \x1b[31m\x1b[2J\u202e語言\r\nנ " + "x" * 63
_NOTHING = Failure(
    "Nothing answers at the address of the source",
    'connection to server at "db1.internal", port 5432 failed: Connection refused',
    "Check host and port, and that the server runs and listens there",
    retry=Retry.TIMED,
)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def _then(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    return run


def _at(step: Step, change: Callable[[FakeServices], None] = lambda _: None) -> WizardForTests:
    services = FakeServices(migration=shop_migration(step))
    change(services)
    return WizardForTests(services, step)


def _empty(services: FakeServices) -> None:
    services.user.planned = there()
    services.roles.planned = NO_ROLES
    services.rights.planned = (
        Script("privileges.sql", "Owners", ()),
        Script("db_settings.sql", "Settings", ()),
    )


def _failed(services: FakeServices) -> None:
    services.user.planned = services.roles.planned = services.rights.planned = _NOTHING


def _worst(services: FakeServices) -> None:
    statements = tuple(ScriptStatement(f"{number} {_NASTY}", _NASTY) for number in range(30))
    script = Script(
        "x.sql", _NASTY, (*apart(statements[:3], _NASTY), *statements), (_NASTY,), (_NASTY, _NASTY, _NASTY)
    )
    reviews = tuple(
        RoleReview(f"{number} {_NASTY}", Standing.DIFFERS, (_NASTY,), (_NASTY,), (_NASTY,), "", True)
        for number in range(30)
    )
    services.user.planned = MigrationUserPlan("livesync_migrate", True, script, None)
    services.user.findings = tuple(
        replace(one, verdict=Verdict.WARNING, found=_NASTY, why=_NASTY, fix=_NASTY) for one in GOOD
    )
    services.roles.planned = RolePlan(script, reviews, reads_passwords=False)
    services.rights.planned = (script, replace(script, file_name="y.sql"))
    services.scripts.refuses = {statements[4].about: _NASTY}


@sizes
@steps
def test_as_usual(snap_compare: SnapCompare, step: Step, size: Size) -> None:
    """Statements to run, what is set apart, and what is there."""
    assert snap_compare(_at(step), terminal_size=size, run_before=_then())


@sizes
@steps
def test_empty(snap_compare: SnapCompare, step: Step, size: Size) -> None:
    """Nothing to do."""
    assert snap_compare(_at(step, _empty), terminal_size=size, run_before=_then())


@sizes
@steps
def test_failed(snap_compare: SnapCompare, step: Step, size: Size) -> None:
    """The servers could not be compared; Next is on all the same."""
    assert snap_compare(_at(step, _failed), terminal_size=size, run_before=_then())


@sizes
@steps
def test_worst(snap_compare: SnapCompare, step: Step, size: Size) -> None:
    """Names that would draw over everything; a statement that was refused, and the cursor on it."""
    keys = ("x", "right", "enter", *["down"] * 4)
    assert snap_compare(_at(step, _worst), terminal_size=size, run_before=_then(*keys))


@sizes
def test_the_roles_listed(snap_compare: SnapCompare, size: Size) -> None:
    """How each stands, and all that is known of the marked one."""
    assert snap_compare(_at(Step.ROLES), terminal_size=size, run_before=_then("o", "down", "down"))


def test_the_roles_listed_at_their_worst(snap_compare: SnapCompare) -> None:
    """Hostile names in every column."""
    assert snap_compare(_at(Step.ROLES, _worst), run_before=_then("o"))


def _used(services: FakeServices) -> None:
    services.migration = replace(services.migration, migration_user="livesync_migrate")
    services.user.planned = there()
    services.user.findings = (
        *GOOD[:4],
        replace(
            GOOD[4],
            verdict=Verdict.WARNING,
            found="owned by others: public.audit_log and 3 more",
            why="Only a table's owner, or a member of that role, may put it into a publication",
            fix="Apply the script for the migration's role as the owner or a superuser",
        ),
        GOOD[5],
    )


@sizes
def test_the_role_in_use(snap_compare: SnapCompare, size: Size) -> None:
    """What was tried as the role, with the fix of what it cannot do."""
    assert snap_compare(_at(Step.USER, _used), terminal_size=size, run_before=_then("k", *["down"] * 4))


def test_the_role_s_checks_at_their_worst(snap_compare: SnapCompare) -> None:
    """Hostile names in what PostgreSQL said."""

    def there_and_worst(services: FakeServices) -> None:
        _worst(services)
        services.user.planned = there()

    assert snap_compare(_at(Step.USER, there_and_worst), run_before=_then("k"))


def test_the_password_out_of_sight(snap_compare: SnapCompare) -> None:
    """Asked for, not yet shown."""
    app = _at(Step.USER, _used)
    app.fake.user.password = "hunter2"
    assert snap_compare(app, run_before=_then("p"))


def test_review_of_a_dry_run(snap_compare: SnapCompare) -> None:
    """No Start, but the script."""

    def dry(services: FakeServices) -> None:
        services.dry_run = True

    assert snap_compare(_at(Step.REVIEW, dry), run_before=_then("tab", "enter"))


def test_roles_in_a_dry_run(snap_compare: SnapCompare) -> None:
    """What would run; Apply is off."""

    def dry(services: FakeServices) -> None:
        services.dry_run = True

    assert snap_compare(_at(Step.ROLES, dry), run_before=_then())


def test_undo_refused(snap_compare: SnapCompare) -> None:
    """PostgreSQL's words."""

    def made(services: FakeServices) -> None:
        services.roles.created = ("app",)
        services.roles.refuses_to_drop = (
            'role "app" cannot be dropped because some objects depend on it (owner of table public.orders)'
        )

    assert snap_compare(_at(Step.ROLES, made), run_before=_then("u", "right", "enter", "e"))
