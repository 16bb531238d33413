"""The cutover: gates open in order, close again, and nothing passes the line by accident."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.cutover.outcome import SequenceOutcome, TableComparison, WriteActivity
from engine.errors import Failure
from engine.snapshot import Lag, Phase, Snapshot
from screens.cutover import CutoverScreen
from screens.done import DoneScreen
from screens.gates import CutoverEvidence, GateName, GateState, gates, next_gate, wrote_since
from screens.live import LiveScreen
from screens.migration import CutoverRecord, Step
from tests.screens.fake_services import (
    COMPARISONS,
    NOW,
    FakeEngine,
    FakeServices,
    copying_snapshot,
    ready_snapshot,
    shop_migration,
)
from tests.screens.fakes.cutover import FENCE_SEEN, PASSED_FENCE, QUIET, SEQUENCES, FakeCutover
from tests.screens.scenario import WizardForTests, paste, play, press, settle, shown

_PASSED = replace(ready_snapshot(), fences=(FENCE_SEEN,))

_ALL = CutoverEvidence(
    snapshot=_PASSED,
    snapshot_at=NOW,
    lag_small_since=NOW - timedelta(minutes=1),
    activity=QUIET,
    activity_at=NOW,
    before=QUIET,
    not_writable="",
    writable_at=NOW,
    leftovers=(),
    leftovers_at=NOW,
    writers_stopped_at=NOW,
    fence=PASSED_FENCE,
    fence_at=NOW,
    sequences=SEQUENCES,
    sequences_at=NOW,
    comparisons=COMPARISONS,
    compared_at=NOW,
)

_ATTEST = ("enter", "right", "enter")


def _services(cutover: FakeCutover | None = None, **given: Any) -> FakeServices:
    return FakeServices(
        migration=shop_migration(Step.CUTOVER),
        cutover=cutover or FakeCutover(),
        **{"engine": FakeEngine(ready_snapshot()), **given},
    )


async def _until_it_asks(pilot: Pilot[Any], app: WizardForTests) -> CutoverScreen:
    """Let the lag be small for long enough."""
    cutover = app.step
    assert isinstance(cutover, CutoverScreen)
    app.fake.clock += timedelta(seconds=10)
    cutover.poll()
    await settle(pilot)
    return cutover


async def _stop_writers(pilot: Pilot[Any], app: WizardForTests) -> CutoverScreen:
    """Say that the writers are stopped; the rest runs by itself."""
    cutover = await _until_it_asks(pilot, app)
    await press(pilot, *_ATTEST)
    return cutover


def _waiting(evidence: CutoverEvidence) -> GateName | None:
    gate = next_gate(gates(evidence, NOW))
    return None if gate is None else gate.name


def _one_set_aside() -> Snapshot:
    first, *others = ready_snapshot().tables
    return replace(ready_snapshot(), tables=(replace(first, last_error="x"), *others))


def test_the_line_is_open_when_every_gate_is_passed() -> None:
    assert _waiting(_ALL) is None


_LONG_AGO = NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("changes", "waiting"),
    [
        ({"snapshot": None}, GateName.READY),
        ({"snapshot": copying_snapshot()}, GateName.READY),
        ({"snapshot": replace(_PASSED, phase=Phase.RETRYING)}, GateName.READY),
        ({"snapshot": replace(_PASSED, phase=Phase.PAUSED)}, GateName.READY),
        ({"snapshot_at": _LONG_AGO}, GateName.READY),
        ({"snapshot": _one_set_aside()}, GateName.SET_ASIDE),
        ({"snapshot": replace(_PASSED, objects_to_build=1)}, GateName.BUILT),
        ({"snapshot": replace(_PASSED, objects_failed=1)}, GateName.BUILT),
        ({"leftovers": None}, GateName.LEFTOVERS),
        ({"not_writable": "it is a standby"}, GateName.WRITABLE),
        ({"not_writable": Failure("x")}, GateName.WRITABLE),
        ({"writable_at": _LONG_AGO}, GateName.WRITABLE),
        ({"snapshot": replace(_PASSED, lag=None)}, GateName.LAG),
        ({"lag_small_since": None}, GateName.LAG),
        ({"lag_small_since": NOW - timedelta(seconds=1)}, GateName.LAG),
        ({"activity": replace(QUIET, long_transactions=("pid 7",))}, GateName.TRANSACTIONS),
        ({"activity": Failure("x")}, GateName.TRANSACTIONS),
        ({"activity_at": _LONG_AGO}, GateName.TRANSACTIONS),
        ({"writers_stopped_at": None}, GateName.WRITERS),
        ({"writers_seen_again": "x"}, GateName.WRITERS),
        ({"fence": None}, GateName.FENCE),
        ({"fence": Failure("x")}, GateName.FENCE),
        ({"fence": replace(PASSED_FENCE, reached=False)}, GateName.FENCE),
        ({"fence": replace(PASSED_FENCE, reached=False, failure=Failure("x"))}, GateName.FENCE),
        # An engine that was started again has not seen it.
        ({"snapshot": replace(_PASSED, fences=())}, GateName.FENCE),
        (
            {"snapshot": replace(_PASSED, fences=(replace(FENCE_SEEN, changes_after=1),))},
            GateName.NOTHING_AFTER,
        ),
        ({"sequences": None}, GateName.SEQUENCES),
        ({"sequences": (SequenceOutcome("s", "s", None, False, "missing"),)}, GateName.SEQUENCES),
        ({"comparisons": None}, GateName.COMPARED),
        ({"comparisons": (TableComparison("t", "t", 1, 2, False),)}, GateName.COMPARED),
        ({"comparisons": (TableComparison("t", "t", 1, 1, False, problem="x"),)}, GateName.COMPARED),
    ],
)
def test_one_bad_piece_of_evidence_closes_the_line(changes: dict[str, Any], waiting: GateName) -> None:
    assert _waiting(replace(_ALL, **changes)) is waiting


@pytest.mark.parametrize(
    "changes",
    [
        {"leftovers": ("Post-sync: 3 not done",)},
        {"leftovers": Failure("x")},
        {"activity": replace(QUIET, hidden_sessions=4)},
    ],
)
def test_a_warning_is_shown_and_lets_pass(changes: dict[str, Any]) -> None:
    evidence = replace(_ALL, **changes)
    assert _waiting(evidence) is None
    assert [gate.state for gate in gates(evidence, NOW)].count(GateState.WARNING) == 1


def test_a_gate_behind_a_closed_one_is_not_passed_and_says_why() -> None:
    listed = gates(replace(_ALL, snapshot=copying_snapshot()), NOW)
    assert [gate.state for gate in listed].count(GateState.PASSED) == 0
    assert all("behind 1: " in gate.evidence for gate in listed if gate.name is GateName.COMPARED)


def test_a_lag_that_grows_begins_to_count_again() -> None:
    large = replace(_PASSED, lag=Lag(1 << 30, 60.0, None))
    evidence = _ALL.with_snapshot(large, NOW)
    assert _waiting(evidence) is GateName.LAG
    later = NOW + timedelta(seconds=1)
    evidence = evidence.with_snapshot(_PASSED, later)
    assert (evidence.lag_small_since, _waiting(evidence)) == (later, GateName.LAG)


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
    services = _services(FakeCutover(activities=[QUIET, QUIET, busy]))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        cutover = await _stop_writers(pilot, app)
        assert services.migration.cutover.writers_stopped_at == services.clock
        assert "Cross the line" in shown(app)
        for _ in range(2):
            cutover._look()
            await settle(pilot)
        assert "writing went on after that" in shown(app)
        assert "No outage yet" in shown(app)
        assert services.migration.cutover == CutoverRecord()

    play(walk, services, Step.CUTOVER)


def test_a_change_behind_the_fence_closes_the_line_until_another_fence_passes() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        cutover = await _stop_writers(pilot, app)
        assert services.engine is not None
        services.engine.current = replace(_PASSED, fences=(replace(FENCE_SEEN, changes_after=3),))
        cutover.poll()
        await settle(pilot)
        assert "3 row changes came after it" in shown(app)
        services.cutover.fence = replace(PASSED_FENCE, fence="fence 2")
        await press(pilot, "enter")
        assert "Cross the line" in shown(app)
        # What was proven before it has to be proven again.
        assert services.cutover.calls == ["fence", "copy sequences"] * 2
        assert services.calls.count("compare") == 2

    play(walk, services, Step.CUTOVER)


def test_a_source_that_cannot_be_looked_at_closes_the_gates_for_as_long() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        cutover = await _stop_writers(pilot, app)
        services.cutover.activities = [Failure("The connection to the source was lost")]
        cutover._look()
        await settle(pilot)
        assert "✗  7" in shown(app)
        assert "behind 7" in shown(app)
        cutover._look()
        await settle(pilot)
        assert "Cross the line" in shown(app)
        assert services.cutover.calls == ["fence", "copy sequences"]

    play(walk, services, Step.CUTOVER)


def test_aborting_goes_back_to_live_and_forgets_the_outage() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _stop_writers(pilot, app)
        await press(pilot, "ctrl+o")
        assert isinstance(app.step, LiveScreen)
        assert services.migration.cutover == CutoverRecord()
        assert "stop engine" not in services.calls
        assert "undo read-only" not in services.cutover.calls

    play(walk, services, Step.CUTOVER)


def test_the_source_is_made_read_only_and_an_abort_undoes_it() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _until_it_asks(pilot, app)
        await press(pilot, "o")
        assert "pid 4711 · app · checkout" in shown(app)
        # The first answer changes nothing.
        await press(pilot, "enter")
        assert services.cutover.calls == []
        await press(pilot, "o", "right", "enter")
        assert "End 1 open session?" in shown(app)
        await press(pilot, "right", "enter")
        assert services.cutover.calls == ["read-only", "end 4711"]
        assert [record.role for record in services.migration.read_only] == [""]
        # What cannot be undone is not walked away from.
        services.cutover.refuses = Failure("The source refused")
        await press(pilot, "ctrl+o")
        assert isinstance(app.step, CutoverScreen)
        assert "The source refused" in shown(app)
        services.cutover.refuses = None
        await press(pilot, "ctrl+o")
        assert isinstance(app.step, LiveScreen)
        assert services.migration.read_only == ()

    play(walk, services, Step.CUTOVER)


def test_a_rehearsal_predicts_the_outage_and_sets_nothing() -> None:
    services = _services(comparisons=(TableComparison("public.orders", "public.orders", 9, 8, False),))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _until_it_asks(pilot, app)
        await press(pilot, "tab", "enter")
        assert "Predicted write outage at the current rate: 2–5 s" in shown(app)
        assert "While the writers go on that is to be expected" in shown(app)
        assert services.cutover.calls == ["fence", "measure sequences"]
        assert services.migration.cutover == CutoverRecord()
        await press(pilot, "escape")
        assert "Rehearsed: 2–5 s outage" in shown(app)
        assert "The writers are stopped ]" in shown(app)

    play(walk, services, Step.CUTOVER)


def test_who_comes_back_in_the_middle_goes_on_with_the_outage() -> None:
    record = CutoverRecord(writers_stopped_at=NOW - timedelta(seconds=40), attested="confirmed")
    services = _services()
    services.migration = replace(services.migration, cutover=record)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert "Write outage 40 s" in shown(app)
        await _until_it_asks(pilot, app)
        assert "Cross the line" in shown(app)
        assert services.migration.cutover.writers_stopped_at == record.writers_stopped_at

    play(walk, services, Step.CUTOVER)


def test_a_comparison_that_found_something_can_be_repeated_but_not_passed() -> None:
    found = TableComparison("public.orders", "public.orders", 9, 8, False)
    services = _services(comparisons=(found,))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _stop_writers(pilot, app)
        assert "9 rows on the source" in shown(app)
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
        cutover = await _stop_writers(pilot, app)
        await press(pilot, "enter")
        assert services.engine is not None
        services.engine.current = replace(_PASSED, phase=Phase.RETRYING)
        cutover.poll()
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert "stop engine" not in services.calls
        assert isinstance(app.step, CutoverScreen)

    play(walk, services, Step.CUTOVER)


def test_a_writer_in_the_last_moment_is_caught_by_the_last_fence() -> None:
    class Sneaking(FakeCutover):
        def pass_fence(self) -> Any:
            outcome = super().pass_fence()
            if self.calls.count("fence") == 2:
                assert self.services is not None
                assert self.services.engine is not None
                behind = replace(FENCE_SEEN, changes_after=1)
                self.services.engine.current = replace(_PASSED, fences=(behind,))
            return outcome

    services = _services(Sneaking())

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _stop_writers(pilot, app)
        await press(pilot, "enter")
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert "Somebody wrote to the source after the fence" in shown(app)
        assert "Send the fence again" in shown(app)
        assert "stop engine" not in services.calls
        assert services.migration.cutover.done_at is None

    play(walk, services, Step.CUTOVER)


def test_an_engine_that_does_not_stop_keeps_the_line_uncrossed() -> None:
    services = _services(engine_stops=False)

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _stop_writers(pilot, app)
        await press(pilot, "enter")
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


def test_warnings_are_named_at_the_line_and_in_the_report() -> None:
    services = _services(FakeCutover(left=("Post-sync: 2 not done (public.sales)",)))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _stop_writers(pilot, app)
        await press(pilot, "enter")
        assert "By crossing you accept" in shown(app)
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert isinstance(app.step, DoneScreen)
        report = services.files["report.md"]
        assert "Post-sync: 2 not done (public.sales)" in report
        assert "* `public.orders`: 12,400,000 rows, equal" in report
        assert "table public.sessions_cache" in report
        assert "ALTER TABLE public.audit_log REPLICA IDENTITY FULL" in report
        document = json.loads(services.files["report.json"])
        assert document["warnings_accepted"] == ["Post-sync, rights, settings: " + services.cutover.left[0]]
        assert document["write_outage_seconds"] == 0.0
        assert document["comparisons"][0]["equal"] is True

    play(walk, services, Step.CUTOVER)


def test_the_new_connection_is_copied_without_asking() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "c")
        assert services.files["connection.txt"] == "host=target dbname=shop\n"

    play(walk, services, Step.CUTOVER)


def test_a_source_that_was_left_read_only_is_let_write_from_done() -> None:
    services = _services()

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _until_it_asks(pilot, app)
        await press(pilot, "o", "right", "enter", "enter")
        await press(pilot, *_ATTEST, "enter")
        await paste(pilot, "tsdb")
        await press(pilot, "enter")
        assert isinstance(app.step, DoneScreen)
        assert "source: read-only for `database shop`" in services.files["report.md"]
        await press(pilot, "u", "right", "enter")
        assert services.migration.read_only == ()
        assert "read-only for" not in services.files["report.md"]

    play(walk, services, Step.CUTOVER)


def test_the_demo_s_writers_are_stopped_by_a_button() -> None:
    services = _services(FakeCutover(can_stop_writers=True))

    async def walk(pilot: Pilot[Any], app: WizardForTests) -> None:
        await _until_it_asks(pilot, app)
        await press(pilot, "tab", "enter")
        assert services.cutover.calls[:2] == ["stop writers", "fence"]
        assert services.migration.cutover.attested == "stopped by livesync-tui"
        assert "Cross the line" in shown(app)

    play(walk, services, Step.CUTOVER)
