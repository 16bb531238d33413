"""The fence comes out on the target, what comes after it is counted, and writers are seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.cutover.fence import pass_fence, send_fence
from engine.cutover.writers import write_activity
from engine.errors import Failure, Side
from engine.lsn import parse_lsn
from engine.snapshot import CopyTotal, FenceSeen, Phase, Snapshot, TableProgress, TableState
from engine.view import EngineView
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until

TABLE = TableProgress(
    source_oid=1,
    source_name="public.t",
    target_name="public.t",
    state=TableState.READY,
    rows_copied=0,
    bytes_copied=0,
    approximate_rows=None,
    approximate_size_bytes=None,
    changes_applied=0,
    activity="",
    last_error=None,
    state_since=None,
)

SNAPSHOT = Snapshot(
    seq=1,
    taken_monotonic_seconds=0.0,
    taken_at=datetime(2026, 1, 1, tzinfo=UTC),
    phase=Phase.REPLICATING,
    subscription="s",
    tables=(TABLE,),
    source_flush_lsn=None,
    applied_lsn="0/1",
    lag=None,
    changes_per_second=None,
    copy_total=CopyTotal(rows=0, size_bytes=0, percent=100, exceeds_estimate=False, rate=None),
    transactions_applied=0,
    sync_workers_busy=0,
    sync_workers=4,
    failure=None,
    retry_at_monotonic_seconds=None,
)


class FakeView:
    """An engine that shows one snapshot after the other, the last one for ever."""

    def __init__(self, *snapshots: Snapshot | None) -> None:
        self._snapshots = list(snapshots)
        self.looks = 0

    def snapshot(self) -> Snapshot | None:
        self.looks += 1
        return self._snapshots.pop(0) if len(self._snapshots) > 1 else self._snapshots[0]


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as session:
        yield session


@pytest.fixture
def any_session(source_server: EmbeddedServer) -> Iterator[Session]:
    """For what asks about the whole server."""
    with open_session(parse_endpoint(Side.SOURCE, source_server.conninfo()), "test") as session:
        yield session


def view(*snapshots: Snapshot | None) -> EngineView:
    return cast(EngineView, FakeView(*snapshots))


@pytest.fixture
def known_fence(monkeypatch: pytest.MonkeyPatch) -> FenceSeen:
    """What the next fence looks like when it is seen."""
    monkeypatch.setattr("engine.cutover.fence.secrets.token_hex", lambda size: "x")
    return FenceSeen("fence x", "0/9", 0)


def test_the_fence_has_to_be_seen_and_a_position_is_nothing(
    any_session: Session, known_fence: FenceSeen
) -> None:
    ahead = replace(SNAPSHOT, applied_lsn="FFFF/0", fences=(FenceSeen("fence y", "0/8", 0),))
    engine = FakeView(None, ahead, ahead, replace(ahead, fences=(*ahead.fences, known_fence)))
    outcome = pass_fence(cast(EngineView, engine), any_session, timeout_seconds=600, poll_seconds=0.001)
    assert (outcome.reached, outcome.failure, outcome.fence_lsn) == (True, None, "0/9")
    assert engine.looks == 4


def test_two_fences_are_told_apart(any_session: Session) -> None:
    fences = {pass_fence(view(None), any_session, timeout_seconds=0).fence for _ in range(2)}
    assert len(fences) == 2


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.STOPPED])
def test_an_engine_that_ended_is_not_waited_for(
    any_session: Session, phase: Phase, known_fence: FenceSeen
) -> None:
    failure = Failure("The slot is gone")
    ended = replace(SNAPSHOT, phase=phase, failure=failure)
    outcome = pass_fence(view(SNAPSHOT, ended), any_session, timeout_seconds=600, poll_seconds=0.001)
    assert (outcome.reached, outcome.failure) == (False, failure)
    outcome = pass_fence(view(replace(ended, failure=None)), any_session, timeout_seconds=600)
    assert outcome.failure is not None
    # What it applied before it ended is applied.
    applied = view(replace(ended, fences=(known_fence,)))
    assert pass_fence(applied, any_session, timeout_seconds=600).reached


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"phase": Phase.PAUSED}, "The engine is paused, so nothing is applied"),
        (
            {"tables": (replace(TABLE, last_error="it lacks a column"),)},
            "Not everything can be applied: set aside are public.t",
        ),
    ],
)
def test_what_a_person_has_to_mend_first_is_not_waited_for(
    any_session: Session, change: dict[str, object], title: str
) -> None:
    hopeless = replace(SNAPSHOT, **change)  # type: ignore[arg-type]
    outcome = pass_fence(view(SNAPSHOT, hopeless), any_session, timeout_seconds=600, poll_seconds=0.001)
    assert outcome.failure is not None
    assert (outcome.reached, outcome.failure.title) == (False, title)


def test_a_table_that_is_still_copied_is_not_reached_although_the_fence_was_seen(
    any_session: Session, known_fence: FenceSeen
) -> None:
    done = replace(SNAPSHOT, fences=(known_fence,))
    copying = replace(done, tables=(TABLE, replace(TABLE, state=TableState.DATASYNC)))
    assert not pass_fence(view(copying), any_session, timeout_seconds=0).reached
    assert pass_fence(view(copying, done), any_session, timeout_seconds=30, poll_seconds=0.001).reached


def test_time_up_is_not_reached_and_no_failure(any_session: Session) -> None:
    outcome = pass_fence(view(SNAPSHOT), any_session, timeout_seconds=0.01, poll_seconds=0.001)
    assert (outcome.reached, outcome.failure, outcome.applied_lsn) == (False, None, "0/1")
    assert outcome.seconds >= 0.01


def test_a_server_that_sends_no_messages_is_waited_for_by_position() -> None:
    class Source:
        """One of version 13."""

        info = SimpleNamespace(server_version=130020)

        def execute(self, statement: str, parameters: object = None) -> Source:
            return self

        def fetchone(self) -> tuple[object, ...]:
            return ("0/20",)

    source = cast(Session, Source())
    before = pass_fence(view(replace(SNAPSHOT, applied_lsn="0/1F")), source, timeout_seconds=0)
    assert (before.reached, before.comes_through_stream, before.fence_lsn) == (False, False, "0/20")
    assert pass_fence(view(replace(SNAPSHOT, applied_lsn="0/20")), source, timeout_seconds=0).reached


def test_a_fence_comes_through_on_a_quiet_source_and_what_comes_after_it_is_counted(
    source_db: Database, target_db: Database
) -> None:
    for database in (source_db, target_db):
        database.execute("create table t (id int primary key); create table unpublished (id int)")
    source_db.execute("insert into t select generate_series(1, 10); create publication pub for table t")
    with (
        Migration(source_db, target_db) as migration,
        open_session(migration.config.source, "test") as session,
    ):
        migration.wait_ready()
        source_db.execute("insert into t select generate_series(11, 30)")
        first = pass_fence(migration.engine, session, timeout_seconds=90)
        assert (first.reached, first.failure) == (True, None)
        assert target_db.query("select count(*) from t") == [(30,)]

        def after(fence: str) -> int:
            seen = migration.snapshot.fence(fence)
            assert seen is not None
            return seen.changes_after

        # What is not replicated, what was undone, and a fence itself are no changes.
        source_db.execute("insert into unpublished values (1)")
        with source_db.connect(autocommit=False) as undone:
            undone.execute("insert into t values (99)")
            undone.rollback()
        second = pass_fence(migration.engine, session, timeout_seconds=90)
        assert second.reached
        assert (after(first.fence), after(second.fence)) == (0, 0)

        source_db.execute("update t set id = -id where id <= 3; delete from t where id = 4")
        wait_until(lambda: after(first.fence) >= 4, describe=lambda: migration.snapshot.fences)
        source_db.execute("truncate t")
        wait_until(lambda: after(second.fence) >= 5, describe=lambda: migration.snapshot.fences)
        assert after(first.fence) == after(second.fence) == 5


def test_a_writer_between_two_fences_is_after_the_first_only(
    source_db: Database, target_db: Database
) -> None:
    for database in (source_db, target_db):
        database.execute("create table t (id int primary key)")
    source_db.execute("create publication pub for table t")
    with (
        Migration(source_db, target_db) as migration,
        open_session(migration.config.source, "test") as session,
    ):
        migration.wait_ready()
        # One source transaction after the other, all in one batch or not: the order of commits counts.
        with source_db.connect() as writer:
            first = send_fence(session)
            writer.execute("insert into t select generate_series(1, 500)")
            second = send_fence(session)
            writer.execute("insert into t values (501)")
        last = pass_fence(migration.engine, session, timeout_seconds=90)
        assert last.reached
        counts = [migration.snapshot.fence(fence) for fence in (first.text, second.text, last.fence)]
        assert [seen and seen.changes_after for seen in counts] == [501, 1, 0]
        # A lost connection forgets no fence.
        before = migration.snapshot.fences
        source_db.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where active"
            " and database = current_database()"
        )
        source_db.execute("insert into t values (502)")
        migration.wait_applied()
        seen_last = migration.snapshot.fences[-1]
        assert (len(migration.snapshot.fences), seen_last.text, seen_last.changes_after) == (
            len(before),
            last.fence,
            1,
        )


def test_an_idle_source_has_no_writers_and_readers_are_not_writers(
    source_db: Database, session: Session
) -> None:
    with source_db.connect(autocommit=False) as reader:
        reader.execute("select count(*) from pg_catalog.pg_class")
        first, second = write_activity(session), write_activity(session)
    assert (first.sessions, second.sessions) == ((), ())
    assert first.row_changes_total == second.row_changes_total
    assert first.taken_at <= second.taken_at
    assert parse_lsn(first.position_lsn) <= parse_lsn(second.position_lsn)


def test_an_open_write_transaction_is_named_and_its_rows_are_counted(
    source_db: Database, session: Session
) -> None:
    source_db.execute("create table t (a int)")
    before = write_activity(session)
    with source_db.connect(autocommit=False, application_name="shop app") as writer:
        writer.execute("/* a comment */\ninsert into t\n  select generate_series(1, 7)")
        (line,) = write_activity(session).sessions
        assert line.startswith(f"pid {writer.info.backend_pid} · {writer.info.user} · shop app · 0 s · ")
        assert line.endswith("insert into t select generate_series(1, 7)")
        writer.commit()
    after = wait_until(lambda: (now := write_activity(session)).row_changes_total > 0 and now)
    assert after.row_changes_total - before.row_changes_total == 7
    assert after.sessions == ()
    assert parse_lsn(after.position_lsn) > parse_lsn(before.position_lsn)


def test_a_write_that_still_waits_for_its_first_row_is_named(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (a int)")
    with source_db.connect(autocommit=False) as holder, source_db.connect() as waiting:
        holder.execute("lock table t in access exclusive mode")
        waiting.pgconn.send_query(b"update t set a = 1")
        waiting.pgconn.flush()
        pid = f"pid {waiting.info.backend_pid} "
        wait_until(lambda: any(line.startswith(pid) for line in write_activity(session).sessions))
        holder.rollback()
        while waiting.pgconn.get_result() is not None:
            pass


def test_our_own_sessions_are_left_out(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (a int)")
    with source_db.connect(autocommit=False, application_name="livesync-tui demo") as ours:
        ours.execute("insert into t values (1)")
        assert write_activity(session).sessions == ()


def test_a_transaction_that_has_written_and_stays_open_is_named_and_one_that_reads_is_not(
    source_db: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.cutover.writers.LONG_TRANSACTION_SECONDS", 0.0)
    source_db.execute("create table t (a int)")
    with (
        source_db.connect(autocommit=False) as reader,
        source_db.connect(autocommit=False, application_name="nightly") as writer,
    ):
        reader.execute("select count(*) from t")
        writer.execute("insert into t values (1)")
        (line,) = write_activity(session).long_transactions
        assert line.startswith(f"pid {writer.info.backend_pid} · {writer.info.user} · nightly · ")
        writer.rollback()
    assert write_activity(session).long_transactions == ()
