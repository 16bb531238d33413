"""The Live step: what is drawn, what is left alone, and what its keys order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from engine.errors import Failure
from engine.snapshot import CopyRate, Phase, TableState
from screens.live import (
    LiveScreen,
    attention,
    copied_share,
    copy_line,
    row_cells,
    table_text,
    trouble_line,
)
from screens.migration import Step
from tests.screens.fake_services import (
    MONOTONIC_SECONDS,
    FakeEngine,
    FakeServices,
    copying_snapshot,
    progress,
    ready_snapshot,
    shop_migration,
    shop_tables,
)
from tests.screens.scenario import WizardForTests, play, press, settle, shown

_TABLE = shop_tables()[0]


def _services(engine: FakeEngine) -> FakeServices:
    return FakeServices(migration=shop_migration(Step.LIVE), engine=engine)


def _live(app: WizardForTests) -> LiveScreen:
    assert isinstance(app.step, LiveScreen)
    return app.step


def _marked(app: WizardForTests) -> str:
    return str(_live(app)._table.marked())


def test_what_needs_attention_comes_first() -> None:
    aside = progress(_TABLE, TableState.READY, last_error="x")
    order = [aside, *(progress(_TABLE, state) for state in TableState)]
    assert [table.state.value for table in sorted(order, key=attention)] == ["r", "d", "i", "f", "s", "r"]
    assert sorted(order, key=attention)[0] is aside


def test_each_state_is_told_by_letter_and_word() -> None:
    for state in TableState:
        said = row_cells(progress(_TABLE, state))["state"].text
        assert f" {state.value} {state.word}" in said
    assert "set aside" in row_cells(progress(_TABLE, TableState.DATASYNC, last_error="x"))["state"].text


@pytest.mark.parametrize(
    ("rows", "expected", "said"),
    [(0, 100, "-"), (50, 100, "50 %"), (100, 100, "99 %"), (150, 100, "?"), (10, None, "?"), (10, 0, "?")],
)
def test_a_copy_is_never_said_to_be_complete_before_it_is(rows: int, expected: int | None, said: str) -> None:
    table = progress(_TABLE, TableState.DATASYNC, rows_copied=rows, approximate_rows=expected)
    assert copied_share(table) == said


@pytest.mark.parametrize(
    ("changes", "said", "in_full"),
    [
        ({}, "~2 min, 29.1 MB/s", "324,800 of ~812 k (40 %), 206,000/s"),
        ({}, "~2 min, 29.1 MB/s", "38.4 MB, 29.1 MB/s (on the source's disk 96.0 MB)"),
        ({}, "~2 min, 29.1 MB/s", "about 2 min, at this speed"),
        (
            {"rows_copied": 812_001},
            "more than estimated, 29.1 MB/s",
            "812,001, 206,000/s; more than the ~812 k estimated",
        ),
        ({"copy_rate": CopyRate(9.0, 800.0, None)}, "800 bytes/s", "Time left     unknown"),
        ({"approximate_rows": 0}, "~2 min, 29.1 MB/s", "324,800, 206,000/s; how many there are is not known"),
        ({"copy_rate": None}, "copying", "324,800 of ~812 k (40 %)"),
        ({"activity": "trying again in 4 s: x"}, "trying again in 4 s: x", "324,800 of"),
    ],
)
def test_a_copy_is_said_with_its_speed_and_what_is_left(
    changes: dict[str, Any], said: str, in_full: str
) -> None:
    table = replace(progress(_TABLE, TableState.DATASYNC), **changes)
    assert row_cells(table)["doing"].text == said
    assert in_full in table_text(table)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Copied ~41 %, ~2 min left: 4.8 kB (58.2 MB/s), 7 rows (412,000/s)"),
        ({"percent": None}, "Copied 4.8 kB (58.2 MB/s), 7 rows (412,000/s)"),
        (
            {"percent": None, "exceeds_estimate": True, "rate": None},
            "Copied more than estimated: 4.8 kB, 7 rows",
        ),
        ({"rate": CopyRate(0.0, 0.0, None)}, "Copied ~41 %: 4.8 kB (0 bytes/s), 7 rows (0/s)"),
    ],
)
def test_all_copies_are_said_in_one_line(changes: dict[str, Any], said: str) -> None:
    total = replace(copying_snapshot().copy_total, rows=7, size_bytes=4_900, **changes)
    assert copy_line(replace(copying_snapshot(), copy_total=total)) == said


def test_a_silent_engine_is_said() -> None:
    snapshot = replace(ready_snapshot(), taken_monotonic_seconds=MONOTONIC_SECONDS - 14)
    assert trouble_line(snapshot, MONOTONIC_SECONDS, "")[0].startswith("Engine silent for 14 s")
    stopped = replace(snapshot, phase=Phase.STOPPED)
    assert trouble_line(stopped, MONOTONIC_SECONDS, "")[0] == ""


def test_only_cells_that_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(copying_snapshot())

    async def watch(_pilot: Pilot[Any], app: WizardForTests) -> None:
        changed: list[str] = []

        def count(_table: object, row_key: object, column_key: object, *_: object, **__: object) -> None:
            changed.append(f"{row_key} {column_key}")

        monkeypatch.setattr(DataTable, "update_cell", count)
        monkeypatch.setattr(DataTable, "clear", lambda *_, **__: changed.append("clear"))
        _live(app).poll()
        assert changed == []
        tables = copying_snapshot().tables
        engine.current = replace(
            copying_snapshot(), tables=(*tables[:-1], replace(tables[-1], rows_copied=5_000_000))
        )
        _live(app).poll()
        assert changed == ["102 rows"]

    play(watch, _services(engine), Step.LIVE)


def test_the_cursor_stays_on_its_table_when_the_order_changes() -> None:
    engine = FakeEngine(copying_snapshot())

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "down", "down")
        marked = _marked(app)
        tables = tuple(
            replace(table, last_error="broken") if table.state is TableState.READY else table
            for table in copying_snapshot().tables
        )
        engine.current = replace(copying_snapshot(), tables=tables)
        _live(app).poll()
        await settle(pilot)
        assert _marked(app) == marked

    play(watch, _services(engine), Step.LIVE)


def test_a_frozen_display_does_not_hide_trouble() -> None:
    engine = FakeEngine(copying_snapshot())

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "space")
        failure = Failure("The disk of the target is full", hint="Free space on the target")
        engine.current = replace(ready_snapshot(), phase=Phase.RETRYING, failure=failure)
        _live(app).poll()
        await settle(pilot)
        assert "COPYING" in shown(app)
        assert "The disk of the target is full" in shown(app)
        await press(pilot, "space")
        assert "RETRYING" in shown(app)

    play(watch, _services(engine), Step.LIVE)


def test_what_applying_waits_for_is_said_as_it_is_and_in_full_on_a_key() -> None:
    name = f'public."[b]{"語" * 50}[/b]"'
    words = f"a lock on {name} on the target that pid 4711 holds (me, \x1b[31m[/], open for 75 s)"
    engine = FakeEngine(replace(ready_snapshot(), waiting_for=words))

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "space")
        said = shown(app)
        assert "Applying waits for a lock on" in said
        assert 'public."[b]語語' in said
        assert "4711" in said
        assert "\x1b" not in said
        engine.current = replace(ready_snapshot(), waiting_for=words.replace("語", "語語"))
        _live(app).poll()
        await settle(pilot)
        assert "4711" not in shown(app)
        assert "e shows more." in shown(app)
        await press(pilot, "e")
        in_full = shown(app)
        assert "What applying waits for" in in_full
        assert r"(me, \x1b[31m[/], open for" in in_full
        await press(pilot, "escape")
        engine.current = ready_snapshot()
        _live(app).poll()
        await settle(pilot)
        assert "Applying waits" not in shown(app)

    play(watch, _services(engine), Step.LIVE)


def test_pause_and_resume_are_orders_to_the_engine() -> None:
    engine = FakeEngine(copying_snapshot())

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "p")
        engine.current = replace(copying_snapshot(), phase=Phase.PAUSED)
        _live(app).poll()
        await press(pilot, "p")
        assert engine.orders == ["pause", "resume"]

    play(watch, _services(engine), Step.LIVE)


def test_a_table_is_copied_again_only_when_confirmed() -> None:
    tables = copying_snapshot().tables
    aside = replace(tables[0], last_error="column is missing")
    engine = FakeEngine(replace(copying_snapshot(), tables=(aside, *tables[1:])))

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "t", "enter")
        assert engine.orders == []
        await press(pilot, "t", "tab", "enter")
        assert engine.orders == [f"retry {aside.source_oid}"]

    play(watch, _services(engine), Step.LIVE)


def test_an_engine_that_ended_can_be_started_again() -> None:
    services = _services(FakeEngine(replace(copying_snapshot(), phase=Phase.FAILED)))

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        await press(pilot, "p")
        assert services.calls == ["start engine"]
        assert services.engine is services.next_engine

    play(watch, services, Step.LIVE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"phase": Phase.PAUSED}, "paused"),
        ({"phase": Phase.RETRYING}, "tries again"),
        ({"phase": Phase.FAILED}, "failed"),
        ({"tables": ()}, "not listed the tables"),
        ({"tables": (progress(_TABLE, TableState.READY, last_error="x"),)}, "1 table is set aside"),
    ],
)
def test_cutover_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    engine = FakeEngine(replace(ready_snapshot(), **changes))

    async def watch(pilot: Pilot[Any], app: WizardForTests) -> None:
        assert reason in str(_live(app).next_blocked())
        await press(pilot, "ctrl+n")
        assert isinstance(app.step, LiveScreen)

    play(watch, _services(engine), Step.LIVE)
