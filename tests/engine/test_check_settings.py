"""Each setting that is wrong is found on a server that has it wrong, and its fix, applied, makes it good."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.checks.finding import Verdict
from engine.checks.forecast import check_target_room, check_wal_forecast, look_at_wal
from engine.checks.server import Server, look_at
from engine.checks.source import read_source_facts
from engine.checks.transactions import LONG_TRANSACTION_SECONDS
from engine.checks.trial import SLOT_TRIAL_SECONDS
from engine.checks.wal import check_wal
from engine.connection.session import open_session
from engine.errors import Side
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.engine.checking import (
    ROLE_PASSWORD,
    apply,
    checked,
    checked_databases,
    endpoint,
    not_ok,
    require_sound,
)
from tests.waiting import wait_until

_POOR_SETTINGS = {
    "wal_level": "replica",
    "max_replication_slots": "0",
    "max_wal_senders": "1",
    "wal_sender_timeout": "5s",
    "max_slot_wal_keep_size": "64MB",
    "idle_replication_slot_timeout": "1h",
    "max_locks_per_transaction": "10",
    "max_connections": "10",
    "max_prepared_transactions": "1",
}

_AFTER_A_RESTART = (
    "wal_level",
    "replication_slots",
    "walsenders",
    "connections",
    "max_locks_per_transaction",
)
_AFTER_A_RELOAD = ("max_slot_wal_keep_size", "idle_replication_slot_timeout")


@pytest.fixture
def poor_db(server_base: Path) -> Iterator[Database]:
    """A database on a server of its own (PostgreSQL 18) with all that can be set wrong."""
    server = EmbeddedServer.create(18, server_base / f"poor-{secrets.token_hex(3)}", settings=_POOR_SETTINGS)
    server.start()
    yield Database(server, "postgres")
    server.stop("immediate")


@pytest.fixture
def source(source_db: Database) -> Iterator[Server]:
    """The source as the checks look at it."""
    with open_session(endpoint(source_db, Side.SOURCE), "test") as session:
        yield look_at(session, endpoint(source_db, Side.SOURCE))


def test_every_poor_setting_is_found_and_its_fix_makes_it_good(
    poor_db: Database, target_db: Database
) -> None:
    poor_db.execute("; ".join(f"create table t{number} (a int)" for number in range(60)))
    with poor_db.connect() as connection:
        connection.execute("begin; insert into t1 values (1); prepare transaction 'forgotten'")
    found = checked_databases(poor_db, target_db)
    assert not_ok(found) == {
        (Side.SOURCE, "wal_level"): Verdict.BLOCKS,
        (Side.SOURCE, "replication_slots"): Verdict.BLOCKS,
        (Side.SOURCE, "walsenders"): Verdict.BLOCKS,
        (Side.SOURCE, "slot_trial"): Verdict.UNKNOWN,
        (Side.SOURCE, "wal_sender_timeout"): Verdict.WARNING,
        (Side.SOURCE, "max_slot_wal_keep_size"): Verdict.WARNING,
        (Side.SOURCE, "idle_replication_slot_timeout"): Verdict.WARNING,
        (Side.SOURCE, "max_locks_per_transaction"): Verdict.WARNING,
        (Side.SOURCE, "connections"): Verdict.WARNING,
        (Side.SOURCE, "prepared_transactions"): Verdict.WARNING,
    }
    assert "'forgotten'" in found[Side.SOURCE, "prepared_transactions"].found
    poor_db.execute("rollback prepared 'forgotten'")
    for check in (*_AFTER_A_RESTART, *_AFTER_A_RELOAD, "wal_sender_timeout"):
        remedy = found[Side.SOURCE, check].remedy
        assert remedy is not None
        assert remedy.needs_restart == (check in _AFTER_A_RESTART)
        assert remedy.applicable
        apply(poor_db, found[Side.SOURCE, check])

    def reloaded() -> bool:
        again = checked_databases(poor_db, target_db)
        return not {check for side, check in not_ok(again)} & {*_AFTER_A_RELOAD, "wal_sender_timeout"}

    wait_until(reloaded, describe="what needs no restart to count")
    poor_db.server.stop()
    poor_db.server.start()
    assert not_ok(checked_databases(poor_db, target_db)) == {}


@pytest.fixture
def limited_role(target_db: Database) -> Iterator[str]:
    """A role of the target that may open four sessions."""
    role = f"limited_{secrets.token_hex(3)}"
    target_db.execute(f"create role {role} login connection limit 4 password '{ROLE_PASSWORD}'")
    yield role
    target_db.execute(f"drop role {role}")


def test_limits_of_the_role_and_of_the_database_count(
    source_db: Database, target_db: Database, limited_role: str
) -> None:
    source = endpoint(source_db, Side.SOURCE)
    target = endpoint(target_db, Side.TARGET, limited_role)
    of_role = checked(source, target)[Side.TARGET, "connections"]
    assert of_role.verdict is Verdict.WARNING
    assert of_role.found.startswith("4 free for role")
    apply(target_db, of_role)
    target_db.execute(f"alter database {target_db.name} connection limit 2")
    of_database = checked(source, target)[Side.TARGET, "connections"]
    assert of_database.verdict is Verdict.BLOCKS
    assert of_database.found.startswith("2 free for the database")
    as_superuser = checked_databases(source_db, target_db)
    assert as_superuser[Side.TARGET, "connections"].verdict is Verdict.OK
    apply(target_db, of_database)
    assert checked(source, target)[Side.TARGET, "connections"].verdict is Verdict.OK


def test_a_server_without_pgoutput_blocks(source: Server) -> None:
    facts = read_source_facts(source.session)
    for libraries, verdict in (
        ("wal2json", Verdict.BLOCKS),
        ("", Verdict.BLOCKS),
        ('test_decoding, "pgoutput"', Verdict.OK),
    ):
        findings = check_wal(source, replace(facts, output_plugin_libraries=libraries))
        [finding] = [finding for finding in findings if finding.check == "output_plugin"]
        require_sound(finding)
        assert finding.verdict is verdict


def test_wal_is_forecast_from_what_is_written_between_two_looks(
    source_db: Database, source: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.checks.forecast.LOOK_SECONDS", 0.0)
    facts = read_source_facts(source.session)
    first = look_at_wal(source)
    source_db.execute("create table t as select generate_series(1, 10000) as a")
    terabytes = 2**42
    forecast, keep_size = check_wal_forecast(source, facts, terabytes, first)
    assert forecast.verdict is Verdict.WARNING
    assert "df -h" in forecast.fix
    assert keep_size.verdict is Verdict.OK
    limited = replace(facts, slot_wal_keep_mb=2**20)
    _, keep_size = check_wal_forecast(source, limited, terabytes, first)
    assert keep_size.verdict is Verdict.WARNING, "a terabyte is not enough"
    forecast, keep_size = check_wal_forecast(source, limited, 2**20, first)
    assert (forecast.verdict, keep_size.verdict) == (Verdict.OK, Verdict.OK)
    for finding in (forecast, keep_size, check_target_room(source, 2**30)):
        require_sound(finding)
    assert check_target_room(source, 2**30).verdict is Verdict.UNKNOWN


def test_who_writes_for_long_is_named_and_holds_up_the_slot(
    source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (LONG_TRANSACTION_SECONDS, SLOT_TRIAL_SECONDS) == (60, 3)
    monkeypatch.setattr("engine.checks.transactions.LONG_TRANSACTION_SECONDS", 0.0)
    monkeypatch.setattr("engine.checks.trial.SLOT_TRIAL_SECONDS", 0.2)
    with source_db.connect() as busy, busy.transaction():
        pid = busy.info.backend_pid
        busy.execute("create  table  slow (a int)")
        found = checked_databases(source_db, target_db)
    for check in ("long_transactions", "slot_trial"):
        finding = found[Side.SOURCE, check]
        assert finding.verdict is Verdict.WARNING
        assert f"pid {pid} " in finding.found
    assert "create table slow (a int)" in found[Side.SOURCE, "long_transactions"].found
    slots = "select slot_name from pg_replication_slots where slot_name like 'livesync_check%'"
    assert source_db.query(slots) == []
