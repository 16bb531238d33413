"""The Connect step: empty, as usual, at its worst and failed, in a small and in a roomy terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event as Signal
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.checks.finding import Verdict, by_hand, trouble
from engine.connection.stage import Stage, StageDone
from engine.connection.summary import EndpointSummary
from engine.errors import Failure, Retry, Side
from livesync_tui.theme import NIGHT, SIXTEEN_COLOURS
from screens import wizard
from screens.migration import Step
from tests.screens.fake_services import FakeServices, passed_stages, server_summary
from tests.screens.scenario import LARGE, SMALL, WizardForTests, settle, shown

SnapCompare = Callable[..., bool]
Size = tuple[int, int]

_STRINGS = {Side.SOURCE: "postgres://mover:x@db1.internal/shop", Side.TARGET: "postgres://a:b@tiger/tsdb"}
_NASTY = "w[/]x [red]y[/red] \x1b[31m\x1b[2J\u202e語言\r\nנ " + "x" * 63
_IPV6 = "2001:db8:85a3:1234:5678:8a2e:370:7334%eth0"

sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor that blinks and no tick: how far either has come depends on how busy the machine is."""
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(wizard, "TICK_SECONDS", 3600.0)


def _then(*keys: str) -> Callable[[Pilot[Any]], Any]:
    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        # A wizard that has crashed is an empty picture.
        assert shown(cast(WizardForTests, pilot.app)).strip()

    return run


class _WorstServices(FakeServices):
    """Connection strings that say the longest and nastiest there is."""

    def preview_connection(self, side: Side, text: str) -> EndpointSummary | Failure:
        host = f"{_IPV6},{_IPV6}" if side is Side.SOURCE else _NASTY
        return EndpointSummary(side, host, "65432", _NASTY, _NASTY, "verify-full", True)


def _at_connect(
    theme: str = NIGHT.name, services: type[FakeServices] = FakeServices, **given: Any
) -> WizardForTests:
    return WizardForTests(services(**{"strings": dict(_STRINGS), **given}), Step.CONNECT, theme)


def _worst(**given: Any) -> WizardForTests:
    stages = tuple(replace(done, seconds=10.04, found=_NASTY) for done in passed_stages(Side.TARGET))
    stages = (StageDone(Stage.DNS, 123.4, _IPV6), *stages[1:])
    summaries = {
        side: replace(
            server_summary(side),
            version=_NASTY,
            host=_NASTY,
            database=_NASTY,
            is_standby=True,
            tls_version=_NASTY,
            timescaledb_version=_NASTY,
        )
        for side in Side
    }
    return _at_connect(
        services=_WorstServices, stages=dict.fromkeys(Side, stages), **{"probes": summaries, **given}
    )


@sizes
def test_connect_empty(snap_compare: SnapCompare, size: Size) -> None:
    """Before anything is pasted."""
    assert snap_compare(_at_connect(strings={}), terminal_size=size, run_before=_then())


@sizes
def test_connect_as_usual(snap_compare: SnapCompare, size: Size) -> None:
    """Both servers tested; Next has the focus."""
    assert snap_compare(_at_connect(), terminal_size=size, run_before=_then("enter"))


@sizes
def test_connect_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """The longest names, an IPv6 host with a zone, text that would draw over everything."""
    assert snap_compare(_worst(), terminal_size=size, run_before=_then("enter"))


@sizes
def test_connect_failed_at_its_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Both servers say the longest and nastiest there is."""
    failures = {side: Failure(_NASTY, _NASTY, _NASTY, "28P01", side) for side in Side}
    assert snap_compare(_worst(probes=failures), terminal_size=size, run_before=_then("enter"))


@sizes
def test_connect_failed(snap_compare: SnapCompare, size: Size) -> None:
    """One is refused at its login, the other's certificate is not verified."""
    probes = {
        Side.SOURCE: Failure(
            "The source refused the password",
            'connection to server at "10.0.3.17", port 5432 failed: FATAL: password authentication '
            'failed for user "mover"',
            "Check user and password of the source",
            retry=Retry.TIMED,
        ),
        Side.TARGET: Failure(
            "The certificate of the target cannot be verified",
            'connection to server at "203.0.113.40", port 5432 failed: SSL error: certificate verify failed',
            "Give sslrootcert=FILE with the certificate of the authority that signed the server's",
        ),
    }
    stages = {Side.SOURCE: passed_stages(Side.SOURCE)[:3], Side.TARGET: passed_stages(Side.TARGET)[:2]}
    app = _at_connect(probes=probes, stages=stages)
    assert snap_compare(app, terminal_size=size, run_before=_then("enter"))


@sizes
def test_connect_while_it_tests(snap_compare: SnapCompare, size: Size) -> None:
    """Stages as they finish: the source waits for its name, the target for TLS."""
    end = Signal()
    stages = {Side.SOURCE: (), Side.TARGET: passed_stages(Side.TARGET)[:2]}
    app = _at_connect(stages=stages, probes_wait_for=end)

    async def until_shown(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        await pilot.press("enter")
        while "… TLS" not in shown(app) or "connecting to the source … 0 s" not in shown(app):
            await pilot.pause(0.02)

    try:
        assert snap_compare(app, terminal_size=size, run_before=until_shown)
    finally:
        end.set()


@sizes
def test_connect_refused(snap_compare: SnapCompare, size: Size) -> None:
    """Servers that answer and cannot be used, each with the reason."""
    refused = (
        trouble(
            "direct_connection",
            Side.SOURCE,
            Verdict.BLOCKS,
            "db1.internal port 6432 names another server process than the one that answers",
            "So a pooler such as pgbouncer is in between",
            remedy=by_hand("Use the host and port that the database itself listens on"),
        ),
        trouble(
            "standby",
            Side.TARGET,
            Verdict.BLOCKS,
            "a standby (read replica)",
            "Nothing can be written to a standby",
            remedy=by_hand("Use the connection string of the primary as --target"),
        ),
    )
    assert snap_compare(_at_connect(refused=refused), terminal_size=size, run_before=_then("enter"))


_FIELDS = {
    "host": "db1.internal",
    "dbname": "shop",
    "user": "mover",
    "password": "x'y z",
    "sslmode": "verify-full",
}


@sizes
def test_connect_as_fields(snap_compare: SnapCompare, size: Size) -> None:
    """The source's connection field by field; the password is masked."""
    app = _at_connect(
        fields={**_FIELDS, "sslmode": "verify-full", "sslrootcert": "/etc/ssl/shop.crt", "options": "-c x=y"}
    )
    assert snap_compare(app, terminal_size=size, run_before=_then("f2"))


@sizes
def test_connect_as_fields_with_a_list_open(snap_compare: SnapCompare, size: Size) -> None:
    """What sslmode may be, in words."""
    keys = ("f2", "tab", "tab", "tab", "tab", "tab", "enter")
    assert snap_compare(_at_connect(fields=dict(_FIELDS)), terminal_size=size, run_before=_then(*keys))


@sizes
def test_connect_as_fields_at_their_worst(snap_compare: SnapCompare, size: Size) -> None:
    """Nasty text in every field, and a string that cannot be read."""
    keywords = ("dbname", "user", "password", "sslmode", "sslrootcert", "service", "options", "passfile")
    nasty = dict.fromkeys(keywords, _NASTY)
    # Nothing in it that an input could not draw.
    shown_as_it_is = "w[/]x [red]y[/red] 語言 נ " + "x" * 63
    app = _at_connect(strings={}, fields={"host": _IPV6, "port": shown_as_it_is, **nasty})
    assert snap_compare(app, terminal_size=size, run_before=_then("f2", "enter"))


def test_connect_as_fields_in_sixteen_colours(snap_compare: SnapCompare) -> None:
    """Focus and fields are told by reverse and underline."""
    app = _at_connect(SIXTEEN_COLOURS, fields=dict(_FIELDS))
    assert snap_compare(app, run_before=_then("f2"))
