"""Checks say OK on good servers, and name what is wrong with the next step on others."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from psycopg import sql

from engine.checks.finding import Verdict
from engine.checks.run import run_checks
from engine.checks.subscription import require_different_databases, require_publications, require_source_ready
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import BlockedError, ConnectionFailedError, Side
from tests.conftest import Database
from tests.engine.checking import ROLE_PASSWORD, apply, checked, endpoint, not_ok


@pytest.fixture
def plain_role(source_db: Database, target_db: Database) -> Iterator[str]:
    """A role on both servers that may log in and nothing else."""
    name = f"Plain role {secrets.token_hex(3)}"
    role = sql.Identifier(name)
    for database in (source_db, target_db):
        database.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(ROLE_PASSWORD)))
    yield name
    for database in (source_db, target_db):
        database.execute(sql.SQL("drop owned by {}").format(role))
        database.execute(sql.SQL("drop role {}").format(role))


@pytest.fixture
def taken_slots(source_db: Database) -> Iterator[str]:
    """The prefix of slots that leave none free."""
    prefix = f"taken_{secrets.token_hex(3)}_"
    source_db.execute(
        "select pg_create_physical_replication_slot(%s || n)"
        " from generate_series(1, current_setting('max_replication_slots')::int"
        " - (select count(*) from pg_replication_slots)::int) n",
        [prefix],
    )
    yield prefix
    source_db.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
        " where starts_with(slot_name, %s)",
        [prefix],
    )


def test_everything_is_ok_between_the_demos_servers(source_db: Database, target_db: Database) -> None:
    found = checked(endpoint(source_db, Side.SOURCE), endpoint(target_db, Side.TARGET))
    assert not_ok(found) == {}
    assert {"wal_level", "replication_slots", "walsenders", "replication_connection"} <= {
        check for side, check in found if side is Side.SOURCE
    }
    assert found[Side.TARGET, "major_versions"].found == "16 → 18"


def test_the_same_database_blocks_whatever_its_address(source_db: Database) -> None:
    source = endpoint(source_db, Side.SOURCE)
    same = parse_endpoint(Side.TARGET, source_db.conninfo.replace("127.0.0.1", "localhost"))
    finding = checked(source, same)[Side.TARGET, "different_databases"]
    assert finding.verdict is Verdict.BLOCKS
    assert source_db.name in finding.found
    with (
        open_session(source, "test") as session,
        open_session(same, "test") as other,
        pytest.raises(BlockedError, match="same database"),
    ):
        require_different_databases(session, other)


def test_two_databases_of_one_server_are_different(source_db: Database) -> None:
    other = parse_endpoint(Side.TARGET, source_db.server.conninfo())
    found = checked(endpoint(source_db, Side.SOURCE), other)
    assert found[Side.TARGET, "different_databases"].verdict is Verdict.OK


def test_an_older_target_is_a_warning(source_db: Database, target_db: Database) -> None:
    found = checked(endpoint(target_db, Side.SOURCE), endpoint(source_db, Side.TARGET))
    assert found[Side.TARGET, "major_versions"].verdict is Verdict.WARNING
    assert found[Side.SOURCE, "idle_replication_slot_timeout"].verdict is Verdict.OK


def test_a_plain_role_is_told_every_right_it_lacks(
    source_db: Database, target_db: Database, plain_role: str
) -> None:
    found = checked(
        endpoint(source_db, Side.SOURCE, plain_role), endpoint(target_db, Side.TARGET, plain_role)
    )
    quoted = f'"{plain_role}"'
    for key in (
        (Side.SOURCE, "replication_right"),
        (Side.TARGET, "create_schema"),
        (Side.TARGET, "session_replication_role"),
    ):
        assert found[key].verdict is Verdict.BLOCKS
        assert quoted in found[key].fix
    assert found[Side.SOURCE, "replication_connection"].verdict is Verdict.BLOCKS
    with (
        open_session(endpoint(source_db, Side.SOURCE, plain_role), "test") as session,
        pytest.raises(BlockedError, match="may not replicate"),
    ):
        require_source_ready(session)


def test_the_proposed_grants_are_enough(source_db: Database, target_db: Database, plain_role: str) -> None:
    source_db.execute("create schema s; create table s.own (a int); create table s.hidden (a int)")
    source_db.execute("alter table s.hidden enable row level security")
    source = endpoint(source_db, Side.SOURCE, plain_role)
    target = endpoint(target_db, Side.TARGET, plain_role)
    found = checked(source, target)
    for check in ("replication_right", "create_publication", "table_reading", "row_level_security"):
        apply(source_db, found[Side.SOURCE, check])
    for check in ("create_schema", "session_replication_role"):
        apply(target_db, found[Side.TARGET, check])
    assert not_ok(checked(source, target)) == {(Side.SOURCE, "table_ownership"): Verdict.WARNING}


@pytest.mark.parametrize(("free", "verdict"), [(0, Verdict.BLOCKS), (2, Verdict.WARNING), (5, Verdict.OK)])
def test_slots_must_be_free_for_live_changes_and_every_worker(
    source_db: Database, target_db: Database, taken_slots: str, free: int, verdict: Verdict
) -> None:
    source_db.execute(
        "select pg_drop_replication_slot(%s || n) from generate_series(1, %s) n", [taken_slots, free]
    )
    finding = checked(endpoint(source_db, Side.SOURCE), endpoint(target_db, Side.TARGET))[
        Side.SOURCE, "replication_slots"
    ]
    assert finding.verdict is verdict
    assert finding.found.startswith(f"{free} free")
    if free == 0:
        with (
            open_session(endpoint(source_db, Side.SOURCE), "test") as session,
            pytest.raises(BlockedError, match="slots of the source are taken"),
        ):
            require_source_ready(session)


def test_more_workers_than_walsenders_is_a_warning(source_db: Database, target_db: Database) -> None:
    found = checked(endpoint(source_db, Side.SOURCE), endpoint(target_db, Side.TARGET), sync_workers=100)
    assert found[Side.SOURCE, "walsenders"].verdict is Verdict.WARNING
    assert found[Side.SOURCE, "replication_slots"].verdict is Verdict.WARNING


def test_a_target_that_is_read_only_by_default_blocks(source_db: Database, target_db: Database) -> None:
    target_db.execute(
        sql.SQL("alter database {} set default_transaction_read_only = on").format(
            sql.Identifier(target_db.name)
        )
    )
    found = checked(endpoint(source_db, Side.SOURCE), endpoint(target_db, Side.TARGET))
    assert found[Side.TARGET, "default_transaction_read_only"].verdict is Verdict.BLOCKS


def test_publications_that_cannot_be_used_are_refused(source_db: Database) -> None:
    source_db.execute('create publication "Odd %"; create publication everything for all tables')
    with open_session(endpoint(source_db, Side.SOURCE), "test") as session:
        require_source_ready(session)
        require_publications(session, ["Odd %"])
        with pytest.raises(BlockedError, match='no publications "No", gone'):
            require_publications(session, ["No", "Odd %", "gone"])
        with pytest.raises(BlockedError, match="FOR ALL TABLES"):
            require_publications(session, ["everything"])


def test_a_server_that_does_not_answer_is_one_error(source_db: Database) -> None:
    nowhere = parse_endpoint(Side.TARGET, "postgresql://me@127.0.0.1:1/nowhere")
    with pytest.raises(ConnectionFailedError) as raised:
        run_checks(endpoint(source_db, Side.SOURCE), nowhere)
    assert raised.value.failure.side is Side.TARGET
