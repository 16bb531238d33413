"""Names that markup would swallow, and characters that would move the cursor, on every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.catalog.planned import PlannedStatement, PublicationOffer, PublicationOffers, PublishedMember
from engine.catalog.planned_identity import (
    IdentityPlan,
    IdentityProposal,
    IdentityRecord,
    IdentitySetting,
    MissingRight,
    TableIdentity,
)
from engine.catalog.table import ReplicaIdentity, TableName
from engine.checks.finding import Verdict, trouble
from engine.checks.report import CheckReport, ServerReport
from engine.cutover.outcome import SequenceOutcome, TableComparison, WriteActivity
from engine.errors import Failure, Side
from engine.postsync.checklist import Checklist, ChecklistItem, Task
from engine.providers.fix import Fix
from engine.roles.migration_role import MigrationUserPlan
from engine.roles.planned import RolePlan
from engine.schema.comparison import ExtensionState, PlannedExtension
from engine.script.planned import Script, ScriptStatement
from engine.snapshot import Event, Phase, Severity, TableState
from screens.live import LiveScreen
from screens.migration import Step
from screens.step_services.cleanup import CleanupPlan
from tests.screens.fake_services import (
    HOSTILE_NAMES,
    NOW,
    STARTED_AT,
    FakeEngine,
    FakeServices,
    finished_migration,
    hostile_tables,
    progress,
    ready_snapshot,
    shop_migration,
    snapshot,
)
from tests.screens.fakes.publication import review
from tests.screens.fakes.schema import compared
from tests.screens.fakes.tables import FakeTables
from tests.screens.scenario import LARGE, WizardForTests, play, press, shown, shown_lines

_NASTY = "w[/]x [red]y[/red] a[b]c [/tmp] $x"
_MOVING = "one\ntwo\x1b[31mthree\u202efour"
_MOVING_SHOWN = r"one\ntwo\x1b[31mthree\u202efour"


def _script(said: str) -> Script:
    return Script("x.sql", said, (ScriptStatement(said, said),), (said,), (said,))


def _identities(said: str) -> IdentityPlan:
    name = TableName("public", said)
    now, after = IdentitySetting(ReplicaIdentity.DEFAULT), IdentitySetting(ReplicaIdentity.FULL)
    record = IdentityRecord(1, name, now, after, said)
    proposal = IdentityProposal(name, name, now, after, said, said, said, (said,), (said,), None, record)
    return IdentityPlan((TableIdentity(name, now, (proposal,), said),))


def _hostile(services: FakeServices, said: str) -> FakeServices:
    """Put ``said`` wherever text that is not ours comes from."""
    fix = Fix(said, (said,), True, said, said, True, said)
    findings = tuple(trouble(said, side, Verdict.BLOCKS, said, said, remedy=fix) for side in Side)
    servers = [ServerReport(side, said, (said,), said, STARTED_AT) for side in Side]
    services.report = CheckReport(findings, servers[0], servers[1])
    services.user.planned = MigrationUserPlan(said, False, _script(said), None)
    services.roles.planned = RolePlan(_script(said), (), reads_passwords=True)
    services.identity.planned = _identities(said)
    services.rights.planned = (_script(said),)
    services.postsync.planned = Checklist((ChecklistItem(0, Task.ANALYZE, said, said, 1, 1),))
    services.schema.missing = (TableName("public", said),)
    services.schema.objects = (compared("TABLE", said, said), compared("VIEW", said, said, f"{said}!"))
    services.schema.extensions = (
        PlannedExtension(said, said, said, said, ExtensionState.MISSING, False, said),
    )
    services.schema.risks = (said,)
    services.schema.refuses = {f"table {said}": said}
    statement = PlannedStatement(f"ALTER {said}", said)
    services.publication.planned = review(
        statement, publication=said, notes=(said,), missing_rights=(MissingRight(said, said),)
    )
    name = TableName("public", said)
    member = PublishedMember(name, (said,), said)
    offer = PublicationOffer(said, said, False, (member,), (said,), (name,), (name,), (said,), False, said)
    services.publication.offered = PublicationOffers((offer,), (said,))
    statements = (ScriptStatement(said, said), ScriptStatement(said, said, said))
    services.cleanup.planned = CleanupPlan((said,), statements)
    services.cutover.activities = [WriteActivity(NOW, "0/1", (said,), 3)] * 50
    services.cutover.left = (said,)
    services.cutover.not_writable = said
    services.cutover.left_out = services.cutover.changes = (said,)
    services.cutover.sequences = (SequenceOutcome(said, said, None, False, said),)
    services.comparisons = (TableComparison(said, said, 1, 2, False, problem=said),)
    services.next_engine = FakeEngine(ready_snapshot(), (Event(1, NOW, Severity.ERROR, said),))
    return services


def _named(step: Step, said: str) -> FakeServices:
    migration = finished_migration() if step is Step.DONE else shop_migration(step)
    migration = replace(
        migration,
        name=said,
        source_name=said,
        target_name=said,
        publication="livesync_shop",
        tables=(TableName("public", said),),
    )
    services = FakeServices(
        migration=migration, saved=(migration,), strings={side: "postgres://x" for side in Side}
    )
    services.unreadable = (Failure(said, said, said),)
    _hostile(services, said)
    if step in (Step.LIVE, Step.CUTOVER):
        services.engine = services.next_engine
    if step is Step.CONNECT:
        services.probes[Side.SOURCE] = Failure(said, said, said)
    return services


@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.value)
def test_foreign_text_is_shown_as_it_is_and_cannot_move_the_cursor(step: Step) -> None:
    async def look(pilot: Pilot[Any], app: WizardForTests) -> None:
        if step is Step.CONNECT:
            await press(pilot, "enter")
        text = shown(app)
        assert f"{_NASTY} {_MOVING_SHOWN}" in text
        assert "\x1b" not in text
        assert "\u202e" not in text

    play(look, _named(step, f"{_NASTY} {_MOVING}"), step, size=(240, 45))


def test_table_names_are_shown_verbatim_in_the_list_of_tables() -> None:
    services = FakeServices(migration=shop_migration(Step.TABLES), tables=FakeTables(hostile_tables()))

    async def look(_pilot: Pilot[Any], app: WizardForTests) -> None:
        text = shown(app)
        for table in hostile_tables():
            quoted = str(table.name).removeprefix("public.")
            assert quoted in text

    play(look, services, Step.TABLES, size=(240, 40))


def test_table_names_are_shown_verbatim_while_live() -> None:
    tables = tuple(progress(table, TableState.READY) for table in hostile_tables())
    broken = replace(
        tables[0], last_error='duplicate key value violates "w[/]x_pkey"', state=TableState.DATASYNC
    )
    services = FakeServices(migration=shop_migration(Step.LIVE))
    services.engine = FakeEngine(snapshot((broken, *tables[1:])))

    async def look(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert isinstance(app.step, LiveScreen)
        text = shown(app)
        for name in HOSTILE_NAMES:
            # The longest is cut in its column, and whole in the details.
            assert name.replace('"', '""')[:30] in text
        await press(pilot, "e")
        assert 'duplicate key value violates "w[/]x_pkey"' in shown(app)
        assert 'public."w[/]x"' in shown(app)

    play(look, services, Step.LIVE, size=(140, 40))


@pytest.mark.parametrize(
    ("step", "key", "words"),
    [
        (Step.PUBLICATION, "v", "ALTER {}"),
        (Step.PUBLICATION, "o", "Belongs to {}"),
        (Step.IDENTITY, "v", "{}"),
        (Step.DONE, "d", "drops the slot {}"),
    ],
)
def test_what_opens_over_a_step_is_shown_verbatim(step: Step, key: str, words: str) -> None:
    said = f"{_NASTY} {_MOVING}"

    async def look(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, key)
        assert words.format(f"{_NASTY} one") in shown(app)
        assert "\x1b" not in shown(app)
        assert "\u202e" not in shown(app)

    play(look, _named(step, said), step, size=(240, 45))


def test_a_failure_s_text_is_shown_verbatim() -> None:
    services = _named(Step.LIVE, _NASTY)
    failure = Failure(_NASTY, _NASTY, _NASTY, "42601", Side.TARGET)
    services.engine = FakeEngine(replace(ready_snapshot(), phase=Phase.FAILED, failure=failure))

    async def look(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "e")
        assert shown(app).count(_NASTY) >= 3

    play(look, services, Step.LIVE, size=LARGE)


@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.value)
def test_no_line_is_wider_than_the_terminal_and_the_gate_is_always_said(step: Step) -> None:
    async def look(_pilot: Pilot[Any], app: WizardForTests) -> None:
        from rich.cells import cell_len

        lines = shown_lines(app)
        assert len(lines) == 24
        assert all(cell_len(line) <= 80 for line in lines)
        assert lines[22].strip()

    play(look, _named(step, "x" * 63), step)
