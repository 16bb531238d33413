"""A sync worker's sessions serve one table after another, and none that is broken or in use."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Thread

import pytest

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.errors import Side
from engine.replication.kept_sessions import KeptSessions
from engine.replication.subscription import REPLICA_ROLE
from engine.replication.sync_sessions import SyncSessions
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until


@pytest.fixture
def kept() -> Iterator[KeptSessions]:
    """Closed afterwards."""
    sessions = KeptSessions()
    yield sessions
    sessions.close()


@pytest.fixture
def endpoint(target_db: Database) -> Endpoint:
    return parse_endpoint(Side.TARGET, target_db.conninfo)


def pid_of_session(sessions: SyncSessions, endpoint: Endpoint, purpose: str = "sync 1") -> int:
    with sessions.open(endpoint, purpose) as session:
        return session.info.backend_pid


def test_a_session_serves_again_under_its_new_name(
    kept: KeptSessions, endpoint: Endpoint, target_db: Database
) -> None:
    first = pid_of_session(SyncSessions(kept), endpoint)
    with SyncSessions(kept).open(endpoint, "copy 2") as session:
        assert session.info.backend_pid == first
        assert target_db.query("select application_name from pg_stat_activity where pid = %s", [first]) == [
            ("livesync-tui copy 2",)
        ]


def test_what_was_left_in_it_is_gone(kept: KeptSessions, endpoint: Endpoint) -> None:
    with SyncSessions(kept).open(endpoint, "sync 1") as session:
        session.execute("create temporary table stage (id int)")
        session.execute("prepare one as select 1")
    with SyncSessions(kept).open(endpoint, "sync 2") as session:
        left = session.execute(
            "select pg_catalog.to_regclass('pg_temp.stage'),"
            " (select pg_catalog.count(*) from pg_catalog.pg_prepared_statements)"
        ).fetchone()
    assert left == (None, 0)


def test_settings_make_another_kind_of_session(kept: KeptSessions, endpoint: Endpoint) -> None:
    first = pid_of_session(SyncSessions(kept), endpoint)
    with SyncSessions(kept).open(endpoint, "copy 1", extra=REPLICA_ROLE) as session:
        assert session.info.backend_pid != first
        assert session.execute("show session_replication_role").fetchone() == ("replica",)


def test_an_open_transaction_is_not_kept(kept: KeptSessions, endpoint: Endpoint) -> None:
    with SyncSessions(kept).open(endpoint, "sync 1") as session:
        session.execute("begin")
    assert session.closed
    assert kept.take(Side.TARGET, "sync 2") is None


def test_what_failed_is_not_kept(kept: KeptSessions, endpoint: Endpoint) -> None:
    with pytest.raises(ZeroDivisionError), SyncSessions(kept).open(endpoint, "sync 1") as session:
        raise ZeroDivisionError
    assert session.closed
    assert kept.take(Side.TARGET, "sync 2") is None


def test_one_that_the_server_ended_is_replaced(
    kept: KeptSessions, endpoint: Endpoint, target_db: Database
) -> None:
    first = pid_of_session(SyncSessions(kept), endpoint)
    target_db.query("select pg_terminate_backend(%s, 30000)", [first])
    assert pid_of_session(SyncSessions(kept), endpoint) != first


def test_two_at_a_time_are_two(kept: KeptSessions, endpoint: Endpoint) -> None:
    pid_of_session(SyncSessions(kept), endpoint)
    together, pids = Barrier(2, timeout=30), []

    def work() -> None:
        with SyncSessions(kept).open(endpoint, "sync") as session:
            together.wait()
            pids.append(session.info.backend_pid)

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 2


def test_a_worker_copies_many_tables_over_one_session_and_keeps_none(
    source_db: Database, target_db: Database
) -> None:
    tables = [f"item_{number}" for number in range(20)]
    for side in (source_db, target_db):
        side.execute(";".join(f"create table {name} (id int primary key)" for name in tables))
    target_db.execute(
        """
        create table seen (pid int);
        create function see() returns trigger language plpgsql as
            $$ begin insert into public.seen values (pg_catalog.pg_backend_pid()); return new; end $$
        """
    )
    for name in tables:
        target_db.execute(
            f"create trigger see before insert on {name} for each row execute function see();"
            f"alter table {name} enable always trigger see"
        )
    source_db.execute(";".join(f"insert into {name} values (1)" for name in tables))
    source_db.execute("create publication pub for table " + ",".join(tables))
    with Migration(source_db, target_db, sync_workers=1) as migration:
        migration.wait_ready()
        wait_until(lambda: not workers(source_db), describe=lambda: workers(source_db))
        wait_until(lambda: not workers(target_db), describe=lambda: workers(target_db))
        migration.assert_equal(*tables)
    assert target_db.query("select count(*), count(distinct pid) from seen") == [(len(tables), 1)]


def workers(database: Database) -> list[tuple[str]]:
    """Sessions of sync workers."""
    return database.query(
        "select application_name from pg_stat_activity"
        " where datname = current_database() and application_name ~ '^livesync-tui (sync|copy|slot)'"
    )
