"""The steps Identity and Publication by their keys."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from engine.catalog.planned import PublicationOffers
from engine.errors import Failure, Side
from engine.script.planned import Outcome, ScriptStatement, StatementResult
from screens.identity import IdentityScreen
from screens.migration import Step
from screens.publication import PublicationScreen
from screens.rights import RightsScreen
from screens.step_services.publication import FILE_NAME
from tests.screens.fake_services import FakeServices, finished_migration, shop_migration
from tests.screens.fakes.identity import some_missing
from tests.screens.fakes.publication import CREATE, review
from tests.screens.scenario import WizardForTests, paste, play, press, shown

_RUN = ("x", "right", "enter")


def _at(step: Step, **given: Any) -> FakeServices:
    services = FakeServices(migration=shop_migration(step), **given)
    services.identity.planned = some_missing()
    return services


def test_a_table_that_is_left_out_keeps_no_other_back_and_is_told() -> None:
    services = _at(Step.IDENTITY)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "space", *_RUN)
        assert [sql for _, ran in services.scripts.ran for sql in ran] == [
            "alter table public.readings replica identity using index readings_at_key"
        ]
        assert "2 tables without identity: not to be published" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, PublicationScreen)

    play(walk, services, Step.IDENTITY)


def test_what_was_set_is_put_back_after_its_statements_were_shown() -> None:
    services = _at(Step.IDENTITY)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "u")
        assert "There is nothing to undo" in shown(app)
        await press(pilot, *_RUN, "u")
        assert "alter table public.audit_log replica identity default;" in shown(app)
        await press(pilot, "enter")
        assert services.identity.undone == 0
        await press(pilot, "u", "right", "enter")
        assert services.identity.undone == 1

    play(walk, services, Step.IDENTITY)


def test_a_refused_undo_is_said_and_not_tried() -> None:
    services = _at(Step.IDENTITY)
    services.identity.stays = "public.audit_log is still published by reporting"

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "u")
        assert "Nothing can be undone now" in shown(app)
        await press(pilot, "e")
        assert "still published by reporting" in shown(app)
        assert services.identity.undone == 0

    play(walk, services, Step.IDENTITY)


def test_the_next_step_waits_for_the_publication() -> None:
    services = _at(Step.PUBLICATION)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        services.scripts.refuses[CREATE.why] = "permission denied"
        await press(pilot, *_RUN, "ctrl+n")
        assert isinstance(app.step, PublicationScreen)
        assert "permission denied" in shown(app)
        # Nothing is left out of a publication by a key.
        await press(pilot, "space")
        assert services.migration.left_out_statements == ()
        services.scripts.refuses.clear()
        await press(pilot, *_RUN)
        assert "The source publishes the 6 chosen tables" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, RightsScreen)

    play(walk, services, Step.PUBLICATION)


def test_a_publication_that_cannot_be_planned_holds_the_next_step_up() -> None:
    services = _at(Step.PUBLICATION)
    services.publication.planned = Failure("Nothing names the rows of public.t", side=Side.SOURCE)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Nothing names the rows of public.t" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, PublicationScreen)
        # Choices that mend it can still be made.
        services.publication.planned = review(CREATE)
        await press(pilot, "k")
        assert not services.migration.publishes_updates
        assert "k: inserts and truncates only" in shown(app)
        # What was planned for another choice cannot be run.
        services.publication.planned = Failure("Nothing names the rows of public.t", side=Side.SOURCE)
        await press(pilot, "k", *_RUN)
        assert services.scripts.ran == []
        services.publication.planned = review(CREATE)
        await press(pilot, "k", "s", *_RUN)
        assert services.migration.publishes_whole_schemas
        assert "publishes inserts and truncates of the 6 chosen tables" in shown(app)

    play(walk, services, Step.PUBLICATION)


def test_an_edited_file_that_was_applied_does_not_hold_the_next_step_up() -> None:
    services = _at(Step.PUBLICATION)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        services.scripts.edited[FILE_NAME] = (ScriptStatement("by hand", "create publication x"),)
        await press(pilot, *_RUN)
        assert services.scripts.ran == [(FILE_NAME, ("create publication x",))]
        assert "The source publishes the 6 chosen tables" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, RightsScreen)

    play(walk, services, Step.PUBLICATION)


def test_another_publication_is_chosen_from_those_that_are_there() -> None:
    services = _at(Step.PUBLICATION)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "o", "enter")
        assert services.migration.publication == "reporting"
        services.publication.offered = PublicationOffers((), ())
        await press(pilot, "o")
        assert "The source has no publication yet" in shown(app)
        services.publication.offered = Failure("The source is gone", side=Side.SOURCE)
        await press(pilot, "o")
        assert "The source is gone" in shown(app)

    play(walk, services, Step.PUBLICATION)


def test_another_name_makes_another_plan() -> None:
    services = _at(Step.PUBLICATION)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "shift+tab")
        await paste(pilot, "x")
        assert "has not been compared" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, PublicationScreen)
        await press(pilot, "enter")
        assert services.migration.publication == "x"
        assert "1 statement to run" in shown(app)

    play(walk, services, Step.PUBLICATION)


def test_a_dry_run_walks_on_and_runs_nothing() -> None:
    services = _at(Step.IDENTITY, dry_run=True)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert isinstance(app.step, IdentityScreen)
        await press(pilot, "x", "ctrl+n")
        assert isinstance(app.step, PublicationScreen)
        assert "1 statement would run on the source" in shown(app)
        await press(pilot, "x", "ctrl+n")
        assert isinstance(app.step, RightsScreen)
        assert services.scripts.ran == []

    play(walk, services, Step.IDENTITY)


def test_the_cleanup_shows_what_it_does_and_says_what_was_refused() -> None:
    services = FakeServices(migration=finished_migration())
    record = some_missing().proposals[0].record
    services.migration = shop_migration(Step.DONE, cutover=services.migration.cutover, identities=(record,))
    said = "public.audit_log is still published by reporting"
    services.cleanup.results = (StatementResult("public.audit_log", "alter …", Outcome.REFUSED, said),)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "d")
        text = shown(app)
        for words in (
            "live_sync_shop",
            'drop publication "livesync_shop";',
            "Stays as it is",
            "public.legacy",
        ):
            assert words in text
        await press(pilot, *"shop", "enter")
        assert services.cleanup.runs == 1
        assert services.migration.dropped_at is not None
        assert "1 statement refused" in shown(app)
        await press(pilot, "e")
        assert said in " ".join(shown(app).replace("│", " ").split())
        # It can be tried again until nothing is left.
        await press(pilot, "escape", "d", *"shop", "enter")
        assert services.cleanup.runs == 2
        app.step.remember(identities=())
        await press(pilot, "d")
        assert "Clean up both servers?" not in shown(app)

    play(walk, services, Step.DONE)
