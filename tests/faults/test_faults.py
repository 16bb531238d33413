"""One fault at a time, at a known moment, under live writes.

Each ends in one of two ways: replication goes on by itself, or a table or the subscription stops and says
what happened and what to do. Never silent, never a wrong row, and no slot is left that nobody uses.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from engine.snapshot import Severity
from tests.conftest import Database
from tests.faults.proxy import Way
from tests.faults.watched import DIRECTIONS, SLOTS, Watched, Ways, Writes, name_of, pace
from tests.waiting import wait_until

_END_OUR_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
 where application_name like 'livesync-tui%' and datname = current_database()
"""


def crash_source(ways: Ways) -> None:
    ways.source.server.stop("immediate")
    ways.source.server.start()


def crash_target(ways: Ways) -> None:
    ways.target.server.stop("immediate")
    ways.target.server.start()


def end_sessions_on_source(ways: Ways) -> None:
    assert ways.source.query(_END_OUR_SESSIONS)


def end_sessions_on_target(ways: Ways) -> None:
    assert ways.target.query(_END_OUR_SESSIONS)


def reset_source(ways: Ways) -> None:
    assert ways.to_source.cut()


def close_target(ways: Ways) -> None:
    assert ways.to_target.cut(reset=False)


def refuse_both(ways: Ways) -> None:
    """Nothing gets through until the engine has met a refusal."""
    for proxy in (ways.to_source, ways.to_target):
        proxy.refuse()
        proxy.cut()
    accepted = ways.to_source.accepted + ways.to_target.accepted
    wait_until(lambda: ways.to_source.accepted + ways.to_target.accepted > accepted)
    ways.to_source.heal()
    ways.to_target.heal()


FAULTS: list[Callable[[Ways], None]] = [
    crash_source,
    crash_target,
    end_sessions_on_source,
    end_sessions_on_target,
    reset_source,
    close_target,
    refuse_both,
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_goes_on_by_itself_after_a_fault_in_mid_copy(fault: Callable[[Ways], None], ways: Ways) -> None:
    pace(ways.target, 0.003)
    with ways.migration() as migration, Writes(ways.source) as writes:
        migration.wait_mid_copy()
        assert ways.target.query("select count(*) from item") == [(0,)]
        fault(ways)
        migration.wait_retrying()
        pace(ways.target, 0)
        migration.finish(writes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [*FAULTS[:4], *(pytest.param(fault, marks=pytest.mark.slow) for fault in FAULTS[4:])]
)
def test_goes_on_by_itself_after_a_fault_in_mid_apply(fault: Callable[[Ways], None], ways: Ways) -> None:
    with ways.migration() as migration, Writes(ways.source) as writes:
        migration.wait_ready()
        pace(ways.target, 0.02)
        ways.source.execute("insert into item select n, 'at once' from generate_series(5001, 5400) n")
        migration.wait_mid_apply()
        fault(ways)
        migration.wait_retrying()
        pace(ways.target, 0)
        migration.finish(writes)


@pytest.mark.slow
@pytest.mark.parametrize("directions", DIRECTIONS, ids=name_of)
@pytest.mark.parametrize("side", ["source", "target"])
def test_goes_on_by_itself_after_a_stall_longer_than_wal_sender_timeout(
    side: str, directions: tuple[Way, ...], ways: Ways
) -> None:
    with ways.migration() as migration, Writes(ways.source) as writes:
        migration.wait_ready()
        proxy = ways.to_source if side == "source" else ways.to_target
        proxy.stall(*directions)
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since > 7, describe="a stall of 7 s")
        if side == "source" and Way.TO_SERVER in directions:
            assert ("live_sync_test", False) in migration.slots(), "the source did not give us up"
        proxy.heal()
        migration.finish(writes)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("directions", DIRECTIONS, ids=name_of)
@pytest.mark.parametrize("side", ["source", "target"])
def test_notices_a_half_open_connection_and_goes_on(
    side: str, directions: tuple[Way, ...], ways: Ways
) -> None:
    with ways.migration() as migration, Writes(ways.source) as writes:
        migration.wait_ready()
        proxy = ways.to_source if side == "source" else ways.to_target
        proxy.half_open(*directions)
        migration.wait_retrying()
        proxy.heal()
        migration.finish(writes)


def drop_the_slot(source: Database) -> None:
    """End whoever holds the slot and drop it before the engine is back."""

    def dropped() -> bool:
        with source.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots where active"
            )
            try:
                connection.execute("select pg_drop_replication_slot('live_sync_test')")
            except psycopg.errors.ObjectInUse:
                return False
            return True

    wait_until(dropped, describe="the slot to be dropped")


@pytest.mark.parametrize("running", [True, False], ids=["running", "between runs"])
def test_a_dropped_slot_ends_the_subscription_and_says_so(
    running: bool, source: Database, target: Database
) -> None:
    with Watched(source, target) as migration:
        migration.wait_ready()
        with Writes(source) as writes:
            writes.wait_for_more()
            if not running:
                migration.engine.stop()
                assert migration.engine.join(30)
            drop_the_slot(source)
            writes.wait_for_more()
        if not running:
            migration.restart()
        failure = migration.wait_failed()
    assert "replication slot live_sync_test is gone" in failure.title
    assert "Start over: livesync-tui drop --subscription test" in failure.hint
    assert source.query(SLOTS) == []


@pytest.fixture
def little_wal(source: Database) -> Iterator[None]:
    """The source keeps next to no WAL for slots."""

    def set_limit(value: str) -> None:
        source.execute(f"alter system set max_slot_wal_keep_size = '{value}'")
        source.execute("select pg_reload_conf()")

    set_limit("1MB")
    yield
    set_limit("-1")


def outgrow_the_slot(source: Database) -> None:
    """Write WAL until the source has removed what the slot needs."""

    def is_lost() -> bool:
        # Only decoded when streamed, and then not ours; what counts is that it moves the WAL on.
        source.query("select pg_logical_emit_message(false, 'x', repeat('x', 1000))")
        source.query("select pg_switch_wal()")
        source.execute("checkpoint")
        return source.query(
            "select wal_status from pg_replication_slots where slot_name = 'live_sync_test'"
        ) == [("lost",)]

    wait_until(is_lost, describe="the slot to be invalidated")


@pytest.mark.usefixtures("little_wal")
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_slot_that_lost_its_wal_ends_the_subscription_and_says_so(
    running: bool, source: Database, target: Database
) -> None:
    with Watched(source, target) as migration:
        migration.wait_ready()
        if not running:
            migration.engine.stop()
            assert migration.engine.join(30)
        with target.connect(autocommit=False) as blocker:
            blocker.execute("lock table other in access exclusive mode")
            source.execute("insert into other values (-1, 'last')")
            outgrow_the_slot(source)
        if not running:
            migration.restart()
        failure = migration.wait_failed()
    assert "removed WAL that the replication slot live_sync_test still needed" in failure.title
    assert "max_slot_wal_keep_size" in failure.title
    assert "Start over" in failure.hint
    assert all(status == "lost" for (status,) in source.query("select wal_status from pg_replication_slots"))


def test_a_dropped_publication_ends_the_subscription_and_says_so(source: Database, target: Database) -> None:
    with Watched(source, target) as migration:
        migration.wait_ready()
        with Writes(source) as writes:
            writes.wait_for_more()
            source.execute("drop publication pub")
            failure = migration.wait_failed()
    assert 'publication "pub" does not exist' in failure.sentence()
    assert "Create the publication" in failure.hint


def test_a_refresh_without_the_publication_forgets_no_table(source: Database, target: Database) -> None:
    with Watched(source, target) as migration:
        migration.wait_ready()
        source.execute("drop publication pub")
        migration.engine.refresh_publication()
        wait_until(lambda: migration.said(Severity.ERROR), describe=lambda: migration.snapshot)
        assert "no publication" in migration.said(Severity.ERROR)[0]
        assert len(migration.snapshot.tables) == 2
        assert target.query("select count(*) from _ts_live_sync.subscription_rel") == [(2,)]


def test_a_table_dropped_on_the_source_leaves_the_others_alone(source: Database, target: Database) -> None:
    with Watched(source, target) as migration, Writes(source, "other") as writes:
        migration.wait_ready()
        source.execute("drop table item")
        migration.engine.refresh_publication()
        wait_until(lambda: len(migration.snapshot.tables) == 1, describe=lambda: migration.snapshot)
        migration.finish(writes, "other")


def assert_only_item_is_set_aside(migration: Watched, writes: Writes, *words: str) -> None:
    """One table stopped with words; the other goes on, and no slot is kept for the stopped one."""
    error = migration.wait_set_aside("public.item")
    assert all(word in error for word in words), error
    assert "retry" in error, error
    writes.wait_for_more()
    writes.stop()
    migration.wait_applied()
    assert [table.source_name for table in migration.snapshot.tables_set_aside] == ["public.item"]
    migration.assert_equal("other")
    wait_until(lambda: migration.slots() == [("live_sync_test", True)], describe=migration.slots)


def test_a_table_dropped_on_the_target_is_set_aside_alone(source: Database, target: Database) -> None:
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.wait_ready()
        target.execute("drop table item")
        assert_only_item_is_set_aside(migration, writes, "public.item", "does not exist")


def with_role(database: Database, attributes: str) -> str:
    """A conninfo of a new role that is no superuser."""
    name, password = f"role_{secrets.token_hex(4)}", secrets.token_hex(8)
    database.execute(f"create role {name} login {attributes} password '{password}'")
    database.execute(f"grant all on database {database.name} to {name}")
    database.execute(f"grant select, insert, update, delete, truncate on item, other to {name}")
    if database.query("select to_regclass('pace') is not null") == [(True,)]:
        database.execute(f"grant select on pace to {name}")
        database.execute(f"grant set on parameter session_replication_role to {name}")
    return database.server.conninfo(database.name, user=name, password=password)


def user_of(conninfo: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(conninfo)["user"])


@pytest.fixture
def limited(source: Database, target: Database) -> Iterator[tuple[str, str]]:
    """Conninfos of roles with just the rights that are needed."""
    conninfos = with_role(source, "replication"), with_role(target, "")
    yield conninfos
    for database, conninfo in zip((source, target), conninfos, strict=True):
        name = user_of(conninfo)
        database.server.start()
        wait_until(
            lambda database=database, name=name: (
                database.query("select pid from pg_stat_activity where usename = %s", [name]) == []
            )
        )
        database.execute(f"reassign owned by {name} to current_user; drop owned by {name}")
        if database is target:
            database.execute(f"revoke all on parameter session_replication_role from {name}")
        database.execute(f"drop role {name}")


def limited_migration(source: Database, target: Database, limited: tuple[str, str]) -> Watched:
    return Watched(source, target, source_conninfo=limited[0], target_conninfo=limited[1])


def test_a_role_that_lost_replication_is_told_so_and_goes_on_once_it_has_the_right_again(
    source: Database, target: Database, limited: tuple[str, str]
) -> None:
    with limited_migration(source, target, limited) as migration, Writes(source) as writes:
        migration.wait_ready()
        # A table is ready a moment before its own slot is dropped, which needs the right too.
        wait_until(lambda: source.query(SLOTS) == [("live_sync_test", True)], describe=migration.slots)
        source.execute(f"alter role {user_of(limited[0])} noreplication")
        end = "select pg_terminate_backend(active_pid) from pg_replication_slots where active"
        source.query(end)
        wait_until(
            lambda: any("may not replicate" in failure.title for failure in migration.failures),
            describe=lambda: migration.failures,
        )
        assert any("with replication" in failure.hint for failure in migration.failures)
        source.execute(f"alter role {user_of(limited[0])} replication")
        migration.finish(writes)


def test_a_table_the_source_role_may_not_read_is_set_aside_and_leaves_no_slot(
    source: Database, target: Database, limited: tuple[str, str]
) -> None:
    source.execute(f"revoke select on item from {user_of(limited[0])}")
    with limited_migration(source, target, limited) as migration, Writes(source) as writes:
        assert_only_item_is_set_aside(migration, writes, "permission denied for table item")


def test_a_table_the_target_role_may_not_write_any_more_is_set_aside_alone(
    source: Database, target: Database, limited: tuple[str, str]
) -> None:
    with limited_migration(source, target, limited) as migration, Writes(source) as writes:
        migration.wait_ready()
        target.execute(f"revoke insert on item from {user_of(limited[1])}")
        assert_only_item_is_set_aside(migration, writes, "permission denied for table item")


@pytest.mark.slow
def test_a_lock_on_the_target_for_longer_than_wal_sender_timeout_is_waited_out_and_named(
    source: Database, target: Database
) -> None:
    walsender = "select active_pid from pg_replication_slots where slot_name = 'live_sync_test'"
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.wait_ready()
        pid = source.query(walsender)
        with target.connect(autocommit=False) as blocker:
            holder = f"pid {blocker.info.backend_pid} "
            blocker.execute("lock table item in access exclusive mode")
            since = time.monotonic()
            wait_until(lambda: time.monotonic() - since > 8, describe="a lock held for 8 s")
            words = migration.snapshot.waiting_for or ""
            assert holder in words
            assert "item" in words
        migration.finish(writes)
        assert source.query(walsender) == pid, "the source connection was lost"
        assert migration.failures == []
        wait_until(lambda: migration.snapshot.waiting_for is None, describe=lambda: migration.snapshot)
        assert any(holder in text for text in migration.said())


@pytest.mark.slow
def test_timeouts_and_read_only_defaults_of_the_roles_end_nothing(
    source: Database, target: Database, limited: tuple[str, str]
) -> None:
    for database, conninfo in zip((source, target), limited, strict=True):
        for setting in (
            "statement_timeout = '50ms'",
            "lock_timeout = '50ms'",
            "idle_in_transaction_session_timeout = '50ms'",
            "idle_session_timeout = '50ms'",
            "default_transaction_read_only = on",
            "default_transaction_isolation = 'serializable'",
        ):
            database.execute(f"alter role {user_of(conninfo)} set {setting}")
    pace(target, 0.0005)
    with limited_migration(source, target, limited) as migration, Writes(source) as writes:
        migration.wait_ready()
        with target.connect(autocommit=False) as blocker:
            blocker.execute("lock table other in access exclusive mode")
            wait_until(lambda: migration.snapshot.waiting_for, describe=lambda: migration.snapshot)
        migration.finish(writes)
        assert migration.failures == []


def test_a_long_transaction_on_the_source_is_named_while_the_first_slot_waits_for_it(
    source: Database, target: Database
) -> None:
    with source.connect(autocommit=False) as long:
        long.execute("insert into other values (-1, 'a secret')")
        with Watched(source, target) as migration, Writes(source) as writes:
            pid = f"pid {long.info.backend_pid} "
            wait_until(lambda: any(pid in text for text in migration.said()), describe=migration.said)
            assert not any("secret" in text for text in migration.said())
            long.commit()
            migration.finish(writes)


def test_a_long_transaction_on_the_source_is_named_while_a_table_s_slot_waits_for_it(
    source: Database, target: Database
) -> None:
    source.execute("alter publication pub drop table item")
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.wait_ready()
        with source.connect(autocommit=False) as long:
            long.execute("insert into other values (-1, 'a secret')")
            source.execute("alter publication pub add table item")
            migration.engine.refresh_publication()
            pid = f"pid {long.info.backend_pid} "
            wait_until(lambda: any(pid in text for text in migration.said()), describe=migration.said)
            assert any("public.item" in text and pid in text for text in migration.said())
            assert not any("secret" in text for text in migration.said())
            long.commit()
        migration.finish(writes)


@pytest.mark.parametrize("sqlstate", ["40001", pytest.param("40P01", marks=pytest.mark.slow)])
@pytest.mark.parametrize("moment", ["copy", "apply"])
def test_a_deadlock_or_serialization_error_on_the_target_is_tried_again(
    moment: str, sqlstate: str, source: Database, target: Database
) -> None:
    refuse = f"""
    create sequence refusals;
    create function refuse() returns trigger language plpgsql as $$
    begin
        -- A sequence is not rolled back, so it counts the attempts.
        if pg_catalog.nextval('public.refusals') <= 2 then
            raise exception 'not now' using errcode = '{sqlstate}';
        end if;
        return new;
    end $$;
    create trigger refuse before insert on item for each row execute function refuse();
    alter table item enable always trigger refuse;
    """
    if moment == "copy":
        target.execute(refuse)
    with Watched(source, target) as migration, Writes(source) as writes:
        if moment == "apply":
            migration.wait_ready()
            target.execute(refuse)
            migration.wait_retrying()
            assert migration.failures[0].sqlstate == sqlstate
        migration.finish(writes)
        assert any("rying again" in text for text in migration.said()), migration.said()
    assert target.query("select last_value > 2 from refusals") == [(True,)]


def test_a_target_database_that_is_read_only_by_default_is_written_nevertheless(
    source: Database, target: Database
) -> None:
    target.execute(f"alter database {target.name} set default_transaction_read_only = on")
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.finish(writes)
        assert migration.failures == []
