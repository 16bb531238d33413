"""Fixes run as the role that asked, statement by statement; a server's starts are told apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from engine.checks.apply_fix import apply_fix
from engine.checks.report import CheckReport
from engine.checks.restart import look_for_restart
from engine.checks.run import run_checks
from engine.errors import ConnectionFailedError, Side
from engine.script.planned import Outcome
from tests.conftest import Database
from tests.engine.checking import ROLE_PASSWORD, endpoint
from tests.waiting import wait_until


@pytest.fixture
def plain_role(source_db: Database) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"plain_{source_db.name[-6:]}"
    identifier = sql.Identifier(name)
    source_db.execute(sql.SQL("create role {} login password {}").format(identifier, ROLE_PASSWORD))
    yield name
    source_db.execute(sql.SQL("drop owned by {}").format(identifier))
    source_db.execute(sql.SQL("drop role {}").format(identifier))


def test_each_statement_is_committed_by_itself_and_the_first_refusal_is_the_last(source_db: Database) -> None:
    statements = (
        "create table public.one (n int)",
        "select from public.nowhere",
        "create table public.three (n int)",
    )
    results = apply_fix(endpoint(source_db, Side.SOURCE), statements)
    assert [(result.sql, result.outcome) for result in results] == [
        (statements[0], Outcome.APPLIED),
        (statements[1], Outcome.REFUSED),
    ]
    assert results[1].sqlstate == "42P01"
    assert "nowhere" in results[1].said
    assert source_db.query("select to_regclass('one')::text, to_regclass('three')") == [("one", None)]


def test_what_refuses_a_transaction_is_run(source_db: Database) -> None:
    results = apply_fix(endpoint(source_db, Side.SOURCE), ("alter system reset wal_sender_timeout",))
    assert [result.outcome for result in results] == [Outcome.APPLIED]


def test_a_grant_that_did_nothing_is_a_refusal(source_db: Database, plain_role: str) -> None:
    source_db.execute("create table kept (n int)")
    statement = f'grant select on public.kept to "{plain_role}"'
    source_db.execute(f'grant insert on public.kept to "{plain_role}"')
    (result,) = apply_fix(endpoint(source_db, Side.SOURCE, plain_role), (statement,))
    assert result.outcome is Outcome.REFUSED
    assert result.said
    (result,) = apply_fix(endpoint(source_db, Side.SOURCE), (statement,))
    assert result.outcome is Outcome.APPLIED


def test_a_server_that_cannot_be_reached_has_run_nothing(source_db: Database) -> None:
    with pytest.raises(ConnectionFailedError):
        apply_fix(endpoint(source_db, Side.SOURCE, "nobody_of_this_name"), ("select 1",))


def test_what_waits_for_a_restart_is_seen(source_db: Database) -> None:
    where = endpoint(source_db, Side.SOURCE)
    before = look_for_restart(where)
    source_db.execute("alter system set max_wal_senders = 77")
    try:
        source_db.execute("select pg_reload_conf()")
        wait_until(lambda: look_for_restart(where).pending_settings == ("max_wal_senders",))
        assert look_for_restart(where).started_at == before.started_at
    finally:
        source_db.execute("alter system reset max_wal_senders")
        source_db.execute("select pg_reload_conf()")
    wait_until(lambda: look_for_restart(where) == before)


def test_a_named_provider_counts_and_what_was_found_out_is_told_beside_it(
    source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.checks.forecast.LOOK_SECONDS", 0.0)
    source, target = endpoint(source_db, Side.SOURCE), endpoint(target_db, Side.TARGET)

    def look(name: str | None) -> CheckReport:
        return run_checks(source, target, source_provider=name)

    found_out, named = look(None), look("neon")
    assert (found_out.source.named, named.source.named) == ("", "Neon")
    assert found_out.source.detected == named.source.detected == "Self-hosted PostgreSQL"
    assert named.source.evidence == found_out.source.evidence
    assert named.source.evidence[0] == "no sign of a provider"
    assert (named.target.named, named.target.side) == ("", Side.TARGET)
    assert named.source.started_at == look_for_restart(source).started_at
    said = {finding.found for finding in named.findings if finding.check == "provider"}
    assert "Neon: named by you" in said
