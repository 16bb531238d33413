"""What the step Identity looks like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.catalog.planned_identity import IdentityPlan, MissingRight, TableIdentity
from engine.catalog.table import TableName
from engine.errors import Failure, Retry, Side
from engine.script.planned import ScriptStatement
from screens.migration import Step
from screens.step_services.identity import FILE_NAME
from tests.screens.drawn import NASTY, Size, SnapCompare, at, hold_still, sizes, then
from tests.screens.fakes.identity import DEFAULT, proposal, some_missing
from tests.screens.scenario import WizardForTests

_RUN = ("x", "right", "enter")


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves."""
    hold_still(monkeypatch)


def _missing() -> WizardForTests:
    app = at(Step.IDENTITY)
    app.fake.identity.planned = some_missing()
    return app


@sizes
def test_identity_empty(snap_compare: SnapCompare, size: Size) -> None:
    """Every table has one."""
    assert snap_compare(at(Step.IDENTITY), terminal_size=size, run_before=then())


@sizes
def test_identity(snap_compare: SnapCompare, size: Size) -> None:
    """A whole row with its costs, an index, one that only its owner may set, one that nothing helps."""
    assert snap_compare(_missing(), terminal_size=size, run_before=then())


@sizes
def test_identity_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Names and messages that would draw over everything."""
    app = at(Step.IDENTITY)
    one = proposal("t", right=MissingRight(NASTY, NASTY))
    name = TableName(NASTY, NASTY)
    proposals = tuple(
        replace(
            one,
            table=name,
            relation=name,
            missing=f"{NASTY} {number}",
            sql=f"{NASTY} {number}",
            why=NASTY,
            costs=(NASTY,) * 3,
            alternatives=(NASTY,),
            missing_right=one.missing_right if number % 2 else None,
        )
        for number in range(30)
    )
    problems = tuple(TableIdentity(name, DEFAULT, (), f"{NASTY} {number}") for number in range(9))
    app.fake.identity.planned = IdentityPlan((TableIdentity(name, DEFAULT, proposals), *problems))
    assert snap_compare(app, terminal_size=size, run_before=then())


@sizes
def test_identity_failed(snap_compare: SnapCompare, size: Size) -> None:
    """One was refused, and who holds the table is said."""
    app = _missing()
    app.fake.scripts.refuses["public.audit_log: It has no primary key"] = (
        "canceling statement due to lock timeout. Another session uses the table: pid 4711 (app, nightly "
        "report, idle in transaction, for 1260 s). Try again when it has ended"
    )
    assert snap_compare(app, terminal_size=size, run_before=then(*_RUN))


def test_identity_that_could_not_be_read(snap_compare: SnapCompare) -> None:
    """The server's words are behind e."""
    app = at(Step.IDENTITY)
    app.fake.identity.planned = Failure(
        "Nothing answers at the address of the source",
        "Connection refused",
        retry=Retry.TIMED,
        side=Side.SOURCE,
    )
    assert snap_compare(app, run_before=then())


def test_identity_edited_in_a_dry_run(snap_compare: SnapCompare) -> None:
    """The edited file is what would run."""
    app = at(Step.IDENTITY, dry_run=True)
    app.fake.identity.planned = some_missing()
    [statement] = [one for one in some_missing().proposals if one.table.table == "readings"]
    app.fake.scripts.edited[FILE_NAME] = (ScriptStatement(statement.about, statement.sql),)
    assert snap_compare(app, run_before=then())


def test_identity_that_cannot_be_put_back(snap_compare: SnapCompare) -> None:
    """Why, in the details."""
    app = _missing()
    app.fake.identity.stays = (
        "public.audit_log is still published by reporting, and DEFAULT would make its updates fail. Drop the "
        "publication or take the table out of it, then undo again"
    )
    assert snap_compare(app, run_before=then("u", "e"))
