"""The fence is where the source stood when asked, and writers are seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.cutover.drain import drain
from engine.cutover.writers import write_activity
from engine.errors import Failure, Side
from engine.lsn import format_lsn, parse_lsn
from engine.snapshot import CopyTotal, Phase, Snapshot, TableProgress, TableState
from engine.view import EngineView
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
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


def position(source_db: Database) -> int:
    return parse_lsn(str(source_db.query("select pg_current_wal_insert_lsn()")[0][0]))


def test_the_fence_is_what_was_written_and_no_later(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (a int)")
    before = position(source_db)
    ahead = replace(SNAPSHOT, applied_lsn="FFFF/0")
    engine = FakeView(None, SNAPSHOT, SNAPSHOT, ahead)
    outcome = drain(cast(EngineView, engine), session, timeout_seconds=30, poll_seconds=0.001)
    # A page header may lie between the two.
    assert before - 40 <= parse_lsn(outcome.fence_lsn) <= position(source_db)
    assert (outcome.reached, outcome.failure, outcome.applied_lsn) == (True, None, "FFFF/0")
    assert engine.looks == 4


def test_an_applied_position_equal_to_the_fence_is_enough_and_one_below_is_not(any_session: Session) -> None:
    fence = drain(view(None), any_session, timeout_seconds=0).fence_lsn
    reached = drain(view(replace(SNAPSHOT, applied_lsn=fence)), any_session, timeout_seconds=0)
    if reached.fence_lsn == fence:  # The server's own work may have moved it on.
        assert reached.reached
    below = format_lsn(parse_lsn(fence) - 1)
    assert not drain(view(replace(SNAPSHOT, applied_lsn=below)), any_session, timeout_seconds=0).reached


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.STOPPED])
def test_an_engine_that_ended_is_not_waited_for(any_session: Session, phase: Phase) -> None:
    failure = Failure("The slot is gone")
    ended = replace(SNAPSHOT, phase=phase, failure=failure)
    outcome = drain(view(SNAPSHOT, ended), any_session, timeout_seconds=600, poll_seconds=0.001)
    assert (outcome.reached, outcome.failure) == (False, failure)
    outcome = drain(view(replace(ended, failure=None)), any_session, timeout_seconds=600)
    assert outcome.failure is not None
    # What it applied before it ended is applied.
    assert drain(view(replace(ended, applied_lsn="FFFF/0")), any_session, timeout_seconds=600).failure is None


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"phase": Phase.PAUSED}, "The engine is paused, so nothing is applied"),
        (
            {"tables": (replace(TABLE, last_error="it lacks a column"),), "applied_lsn": "FFFF/0"},
            "Not everything can be applied: set aside are public.t",
        ),
    ],
)
def test_what_a_person_has_to_mend_first_is_not_waited_for(
    any_session: Session, change: dict[str, object], title: str
) -> None:
    hopeless = replace(SNAPSHOT, **change)  # type: ignore[arg-type]
    outcome = drain(view(SNAPSHOT, hopeless), any_session, timeout_seconds=600, poll_seconds=0.001)
    assert outcome.failure is not None
    assert (outcome.reached, outcome.failure.title) == (False, title)


def test_a_table_that_is_still_copied_is_not_reached_whatever_the_position(any_session: Session) -> None:
    copying = replace(
        SNAPSHOT, applied_lsn="FFFF/0", tables=(TABLE, replace(TABLE, state=TableState.DATASYNC))
    )
    assert not drain(view(copying), any_session, timeout_seconds=0).reached
    done = replace(SNAPSHOT, applied_lsn="FFFF/0")
    assert drain(view(copying, done), any_session, timeout_seconds=30, poll_seconds=0.001).reached


def test_time_up_is_not_reached_and_no_failure(any_session: Session) -> None:
    outcome = drain(view(SNAPSHOT), any_session, timeout_seconds=0.01, poll_seconds=0.001)
    assert (outcome.reached, outcome.failure, outcome.applied_lsn) == (False, None, "0/1")
    assert outcome.seconds >= 0.01


@pytest.mark.parametrize(
    ("inserted", "fence"),
    [
        ("1/2001018", "1/2001018"),  # Inside a page of another size than 4 kB.
        ("1/2002018", "1/2002000"),  # Right behind a page's header.
        ("1/2002028", "1/2002028"),  # A record that ends there.
        ("1/2000028", "1/2000000"),  # Right behind a segment's header.
        ("1/2002020", "1/2002020"),
    ],
)
def test_a_page_header_that_is_not_flushed_is_not_waited_for(inserted: str, fence: str) -> None:
    class Source:
        def execute(self, statement: str) -> Source:
            return self

        def fetchone(self) -> tuple[object, ...]:
            return inserted, 8192, 16 * 1024 * 1024

    outcome = drain(view(SNAPSHOT), cast(Session, Source()), timeout_seconds=0)
    assert outcome.fence_lsn == fence


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
