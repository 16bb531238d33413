"""The transcript can be fed to psql: nothing in it runs that was not applied, and no name ends a comment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.script.grammar import split_script
from engine.script.planned import Outcome, StatementResult
from engine.script.run import run_script
from livesync_tui.transcript import Executed, append_private, executed, transcript_text
from tests.conftest import Database

_WHEN = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
_WHERE = parse_endpoint(
    Side.TARGET, "host=tiger.example dbname='a\ndrop table x;' user='b\n-- c' password=hunter2"
).summary()


def test_each_statement_stands_below_when_where_and_what_came_of_it() -> None:
    text = transcript_text(_WHEN, _WHERE, [Executed("create role app;", 0.0042, "applied")])
    assert text.splitlines() == [
        r"-- 2026-11-21 02:30:00Z target a\ndrop table x; on tiger.example:5432 as b\n-- c: applied, 0.004 s",
        "create role app;",
        "",
    ]


def test_what_was_refused_or_there_stays_a_comment_whatever_is_in_it() -> None:
    results = [
        StatementResult(
            "a", "create role a;\ndrop table x;\n", Outcome.REFUSED, "no\ndrop table y;", "42501"
        ),
        StatementResult("b", "create role b\r\n;\rdrop table z", Outcome.ALREADY_THERE, "there"),
        StatementResult("c", "create role c", Outcome.APPLIED),
    ]
    text = transcript_text(_WHEN, _WHERE, executed(results))
    assert [unit.sql for unit in split_script(text)] == ["create role c"]
    assert "-- no\\ndrop table y; (SQLSTATE 42501)\n" in text


def test_no_password_gets_into_it(source_db: Database, tmp_path: Path) -> None:
    endpoint = parse_endpoint(Side.SOURCE, source_db.conninfo)
    assert endpoint.password is not None
    with open_session(endpoint, "test") as session:
        result = run_script(
            session,
            "-- a role\ncreate role pg_not_allowed password 'hunter2';\nselect 1;\n"
            "create user mapping for public server none options (user 'u', password 'hunter2');",
            Side.SOURCE,
        )
    path = tmp_path / "transcript.sql"
    append_private(path, transcript_text(_WHEN, endpoint.summary(), executed(result.results)))
    text = path.read_text(encoding="utf-8")
    assert "hunter2" not in text
    assert endpoint.password.reveal() not in text
    assert "reserved" in text
    assert [unit.sql for unit in split_script(text)] == ["select 1"]


def test_entries_are_added_and_nobody_else_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "transcript.sql"
    append_private(path, "-- one\n")
    append_private(path, "-- two \ud800\n")
    assert path.read_text(encoding="utf-8") == "-- one\n-- two \\ud800\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_that_was_run_makes_no_entry() -> None:
    assert transcript_text(_WHEN, _WHERE, ()) == ""
