"""The cutover: gates open in order, close again, and nothing passes the line by accident."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.cutover.outcome import DrainOutcome, SequenceOutcome, TableComparison, WriteActivity
from engine.errors import Failure
from engine.snapshot import Phase, Snapshot
from screens.cutover import CutoverScreen
from screens.done import DoneScreen
from screens.gates import CutoverEvidence, GateName, GateState, gates, next_gate, wrote_since
from screens.live import LiveScreen
from screens.migration import CutoverRecord, Step
from tests.screens.fake_services import (
    COMPARISONS,
    DRAINED,
    NOW,
    QUIET,
    SEQUENCES,
    FakeEngine,
    FakeServices,
    copying_snapshot,
    ready_snapshot,
    shop_migration,
)
from tests.screens.scenario import WizardForTests, paste, play, press, settle, shown

_ALL = CutoverEvidence(
    snapshot=ready_snapshot(),
    activity=QUIET,
    before=QUIET,
    writers_stopped_at=NOW,
    drain=DRAINED,
    sequences=SEQUENCES,
    comparisons=COMPARISONS,
)

_ATTEST = ("enter", "right", "enter")


def _services(**given: Any) -> FakeServices:
    return FakeServices(
        migration=shop_migration(Step.CUTOVER), **{"engine": FakeEngine(ready_snapshot()), **given}
    )


def _waiting(evidence: CutoverEvidence) -> GateName | None:
    gate = next_gate(gates(evidence))
    return None if gate is None else gate.name


def _one_set_aside() -> Snapshot:
    first, *others = ready_snapshot().tables
    return replace(ready_snapshot(), tables=(replace(first, last_error="x"), *others))


def test_the_line_is_open_when_every_gate_is_passed() -> None:
    assert _waiting(_ALL) is None


@pytest.mark.parametrize(
    ("changes", "waiting"),
    [
        ({"snapshot": None}, GateName.SYNCHRONIZED),
        ({"snapshot": copying_snapshot()}, GateName.SYNCHRONIZED),
        ({"snapshot": replace(ready_snapshot(), phase=Phase.RETRYING)}, GateName.SYNCHRONIZED),
        ({"snapshot": replace(ready_snapshot(), phase=Phase.PAUSED)}, GateName.SYNCHRONIZED),
        ({"snapshot": _one_set_aside()}, GateName.SYNCHRONIZED),
        ({"snapshot": replace(ready_snapshot(), lag=None)}, GateName.LAG),
        ({"writers_stopped_at": None}, GateName.WRITERS),
        ({"writers_seen_again": "x"}, GateName.WRITERS),
        ({"drain": None}, GateName.DRAINED),
        ({"drain": Failure("x")}, GateName.DRAINED),
        ({"drain": DrainOutcome("0/2", "0/1", False, 9.0, None)}, GateName.DRAINED),
        ({"drain": DrainOutcome("0/2", None, False, 9.0, Failure("x"))}, GateName.DRAINED),
        ({"sequences": None}, GateName.SEQUENCES),
        ({"sequences": (SequenceOutcome("s", "s", None, False, "missing"),)}, GateName.SEQUENCES),
        ({"comparisons": None}, GateName.COMPARED),
        ({"comparisons": (TableComparison("t", "t", 1, 2, False),)}, GateName.COMPARED),
        ({"comparisons": (TableComparison("t", "t", 1, 1, False, problem="x"),)}, GateName.COMPARED),
    ],
)
def test_one_bad_piece_of_evidence_closes_the_line(changes: dict[str, Any], waiting: GateName) -> None:
    assert _waiting(replace(_ALL, **changes)) is waiting


def test_a_gate_behind_a_closed_one_is_not_passed() -> None:
    listed = gates(replace(_ALL, snapshot=copying_snapshot()))
    assert [gate.state for gate in listed].count(GateState.PASSED) == 0


@pytest.mark.parametrize(
    ("now", "wrote"),
    [
        (QUIET, False),
        (replace(QUIET, sessions=("pid 1 writes",)), True),
        # Late statistics of what was written before, and another database's WAL, are not writes.
        (replace(QUIET, row_changes_total=7_009), False),
        (replace(QUIET, position_lsn="2A/5B0F2000"), False),
        (replace(QUIET, position_lsn="2A/5B0F2000", row_changes_total=7_001), True),
    ],
)
def test_writing_is_told_from_noise(now: WriteActivity, wrote: bool) -> None:
    assert wrote_since(QUIET, now) is wrote


def test_writing_that_goes_on_closes_the_gates_and_stops_the_clock() -> None:
    busy = replace(QUIET, sessions=("pid 4711 app@shop: UPDATE orders",))
    services = _services(activities=[QUIET, QUIET, busy])

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, *_ATTEST)
        cutover = app.step
        assert isinstance(cutover, CutoverScreen)
        assert services.migration.cutover.writers_stopped_at == NOW
        cutover._read_writers()
        await settle(pilot)
        cutover._read_writers()
        await settle(pilot)
        assert "writing went on after that" in shown(app)
        assert "No outage yet" in shown(app)
        assert services.migration.cutover == CutoverRecord()

    play(walk, services, Step.CUTOVER)


def test_aborting_goes_back_to_live_and_forgets_the_outage() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, *_ATTEST)
        await press(pilot, "ctrl+o")
        assert isinstance(app.step, LiveScreen)
        assert services.migration.cutover == CutoverRecord()
        assert "stop engine" not in services.calls

    play(walk, services, Step.CUTOVER)


def test_a_comparison_that_found_something_can_be_repeated_but_not_passed() -> None:
    found = TableComparison("public.orders", "public.orders", 9, 8, False)
    services = _services(comparisons=(found,))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, *_ATTEST)
        assert "9 rows on the source, 8 on the target" in shown(app)
        assert "Try again" in shown(app)
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, CutoverScreen)
        services.comparisons = COMPARISONS
        await press(pilot, "enter")
        assert services.calls.count("compare") == 2
        assert "Cross the line" in shown(app)

    play(walk, services, Step.CUTOVER)


def test_a_gate_that_closes_while_the_name_is_typed_stops_the_crossing() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, *_ATTEST, "enter")
        assert services.engine is not None
        services.engine.current = replace(ready_snapshot(), phase=Phase.RETRYING)
        cutover = app.step
        assert isinstance(cutover, CutoverScreen)
        cutover.poll()
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert "stop engine" not in services.calls
        assert isinstance(app.step, CutoverScreen)

    play(walk, services, Step.CUTOVER)


def test_an_engine_that_does_not_stop_keeps_the_line_uncrossed() -> None:
    services = _services(engine_stops=False)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, *_ATTEST, "enter")
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert "has not stopped in time" in shown(app)
        assert services.migration.cutover.done_at is None
        services.engine_stops = True
        await press(pilot, "enter")
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert isinstance(app.step, DoneScreen)

    play(walk, services, Step.CUTOVER)


def test_the_demo_s_writers_are_stopped_by_a_button() -> None:
    services = _services(can_stop_writers=True)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "tab", "enter")
        assert services.calls[:2] == ["stop writers", "drain"]
        assert services.migration.cutover.attested == "stopped by livesync-tui"
        assert "Cross the line" in shown(app)

    play(walk, services, Step.CUTOVER)
