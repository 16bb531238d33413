"""What the step Publication looks like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.catalog.planned import PlannedStatement, PublicationOffers
from engine.catalog.planned_identity import MissingRight
from engine.errors import Failure, Side
from screens.migration import Step
from tests.screens.drawn import NASTY, Size, SnapCompare, at, hold_still, sizes, then
from tests.screens.fakes.publication import CREATE, offers, review

_RUN = ("x", "right", "enter")


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves."""
    hold_still(monkeypatch)


@sizes
def test_publication_empty(snap_compare: SnapCompare, size: Size) -> None:
    """The source publishes what was chosen."""
    app = at(Step.PUBLICATION)
    app.fake.publication.planned = review()
    assert snap_compare(app, terminal_size=size, run_before=then())


@sizes
def test_publication(snap_compare: SnapCompare, size: Size) -> None:
    """One is to be made, with the reason."""
    assert snap_compare(at(Step.PUBLICATION), terminal_size=size, run_before=then())


@sizes
def test_publication_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Names and messages that would draw over everything."""
    app = at(Step.PUBLICATION)
    statements = [PlannedStatement(f"{NASTY} {number}", f"{NASTY} {number}") for number in range(30)]
    rights = tuple(MissingRight(f"{NASTY} {number}", NASTY) for number in range(5))
    planned = review(*statements, notes=(NASTY,) * 7, missing_rights=rights, is_new=False)
    app.fake.publication.planned = replace(planned, other_slots=(NASTY,) * 9, whole_schemas_asked=True)
    assert snap_compare(app, terminal_size=size, run_before=then())


@sizes
def test_publication_failed(snap_compare: SnapCompare, size: Size) -> None:
    """The server refused it, in its words."""
    app = at(Step.PUBLICATION)
    app.fake.scripts.refuses[CREATE.why] = "permission denied for database shop"
    right = MissingRight(
        "mover may not create a publication in this database", "grant create on database shop to mover"
    )
    app.fake.publication.planned = review(CREATE, missing_rights=(right,))
    assert snap_compare(app, terminal_size=size, run_before=then(*_RUN))


def test_publication_with_a_table_that_nothing_names(snap_compare: SnapCompare) -> None:
    """It is not made; what to do is behind e."""
    app = at(Step.PUBLICATION)
    app.fake.publication.planned = Failure(
        "Nothing names the rows of public.audit_log: updates and deletes of it fail on the source as soon as "
        "they are published",
        hint="Give it a replica identity first (step Identity), leave it out, or publish inserts only when "
        "nobody updates it. The first statement: alter table public.audit_log replica identity full",
        side=Side.SOURCE,
    )
    assert snap_compare(app, run_before=then("e"))


@sizes
def test_publication_offers(snap_compare: SnapCompare, size: Size) -> None:
    """What the source has, and whether it fits."""
    assert snap_compare(at(Step.PUBLICATION), terminal_size=size, run_before=then("o"))


def test_publication_offers_at_their_worst(snap_compare: SnapCompare) -> None:
    """Many, and their names would draw over everything."""
    app = at(Step.PUBLICATION)
    offer = replace(offers().offers[0], owner=NASTY, schemas=(NASTY,) * 9, refused=NASTY)
    many = tuple(replace(offer, name=f"{number} {NASTY}") for number in range(40))
    app.fake.publication.offered = PublicationOffers(many, (NASTY,) * 9)
    assert snap_compare(app, run_before=then("o", "down"))


def test_publication_asks_before_it_is_taken_back(snap_compare: SnapCompare) -> None:
    """The exact statement; the safe answer has the focus."""
    assert snap_compare(at(Step.PUBLICATION), run_before=then(*_RUN, "u"))
