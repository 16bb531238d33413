"""Two published tables, a light load on them, and a migration of theirs whose every snapshot is looked at."""

from __future__ import annotations

import threading
from types import TracebackType

import psycopg

from engine.errors import Failure
from engine.snapshot import Phase, Severity, TableState
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.faults.proxy import Proxy, Way
from tests.waiting import wait_until

SLOTS = "select slot_name, active from pg_replication_slots where database = current_database()"

TABLES = """
create table item (id bigint primary key, body text, version int not null default 0);
create table other (id bigint primary key, body text, version int not null default 0);
"""

SLOW = """
create table pace (seconds float8 not null);
insert into pace values (0);
create function slow_down() returns trigger language plpgsql as $$
begin
    if (select seconds from public.pace) > 0 then
        perform pg_catalog.pg_sleep((select seconds from public.pace));
    end if;
    return new;
end $$;
create trigger slow before insert on item for each row execute function slow_down();
alter table item enable always trigger slow;
"""


class Writes:
    """A light load on both tables; goes on after its connection was lost."""

    def __init__(self, source: Database, *tables: str) -> None:
        self._source = source
        self._tables = tables or ("item", "other")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.committed = 0

    def __enter__(self) -> Writes:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No transaction is open any more when this returns."""
        self._over.set()
        self._thread.join()

    def wait_for_more(self) -> None:
        """Until some more transactions are committed."""
        goal = self.committed + 5
        wait_until(lambda: self.committed >= goal, describe="further writes")

    def _write(self) -> None:
        number = 1_000_000
        while not self._over.is_set():
            try:
                with self._source.connect(autocommit=False) as connection:
                    while not self._over.wait(0.03):
                        number += 1
                        for table in self._tables:
                            connection.execute(f"insert into {table} values ({number}, 'live')")
                            connection.execute(
                                f"update {table} set version = version + 1 where id in (7, {number - 3})"
                            )
                            connection.execute(f"delete from {table} where id = {number - 20}")
                        connection.commit()
                        self.committed += 1
            except psycopg.OperationalError:
                self._over.wait(0.1)


class Watched(Migration):
    """A migration whose every snapshot is looked at."""

    def __enter__(self) -> Watched:
        super().__enter__()
        self.phases: set[Phase] = set()
        self.failures: list[Failure] = []
        self.waited_for: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        super().__exit__(kind, value, trace)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            snapshot = self.snapshot
            self.phases.add(snapshot.phase)
            if snapshot.failure is not None and snapshot.failure not in self.failures:
                self.failures.append(snapshot.failure)
            if snapshot.waiting_for is not None:
                self.waited_for.add(snapshot.waiting_for)

    def said(self, severity: Severity = Severity.WARNING) -> list[str]:
        """Texts of the events of one severity."""
        return [event.text for event in self.engine.events(0) if event.severity is severity]

    def wait_retrying(self) -> None:
        """Until a failure was shown that is going to be retried."""
        wait_until(
            lambda: Phase.RETRYING in self.phases and self.failures,
            timeout_seconds=150,
            describe=lambda: (self.snapshot, self.said()),
        )

    def wait_failed(self) -> Failure:
        """Until the engine gave up; why."""
        wait_until(
            lambda: self.snapshot.phase is Phase.FAILED,
            timeout_seconds=150,
            describe=lambda: (self.snapshot, self.said()),
        )
        failure = self.snapshot.failure
        assert failure is not None
        assert "Internal error" not in failure.sentence()
        assert failure.hint, failure
        return failure

    def wait_mid_copy(self) -> None:
        """Until rows of item are on their way, and their end is not."""

        def copying() -> bool:
            table = next(
                (table for table in self.snapshot.tables if table.source_name == "public.item"), None
            )
            return table is not None and table.state is TableState.DATASYNC and table.rows_copied > 0

        wait_until(copying, describe=lambda: self.snapshot)

    def wait_mid_apply(self) -> None:
        """Until the apply stream is inside an insert into item."""
        wait_until(
            lambda: self.target.query(
                "select 1 from pg_stat_activity where application_name = 'livesync-tui apply'"
                " and datname = current_database() and wait_event = 'PgSleep'"
            ),
            describe=lambda: self.snapshot,
        )

    def finish(self, writes: Writes, *tables: str) -> None:
        """Replication goes on: nothing failed any more, nothing set aside, both sides equal, one slot."""
        writes.wait_for_more()
        self.wait_ready_again()
        writes.stop()
        self.wait_applied()
        wait_until(
            lambda: self.snapshot.phase is Phase.REPLICATING and self.snapshot.failure is None,
            describe=lambda: self.snapshot,
        )
        self.assert_equal(*(tables or ("item", "other")))
        assert not [text for text in self.said(Severity.ERROR) if "Internal" in text]
        # PostgreSQL's CONTEXT of a COPY is a row.
        assert not [text for text in self.said() if "xxxx" in text or "yyyy" in text]
        # A part that ran again and again without a pause would have said so hundreds of times.
        assert len(self.said()) < 40, self.said()
        wait_until(lambda: self.source.query(SLOTS) == [("live_sync_test", True)], describe=self.slots)

    def wait_ready_again(self) -> None:
        """Like :meth:`wait_ready`, with patience for what has to be waited out first."""

        def all_ready() -> bool:
            snapshot = self.snapshot
            assert snapshot.phase is not Phase.FAILED, snapshot.failure
            assert not snapshot.tables_set_aside, snapshot.tables_set_aside
            return bool(snapshot.tables) and all(table.state is TableState.READY for table in snapshot.tables)

        wait_until(all_ready, timeout_seconds=150, describe=lambda: (self.snapshot, self.said()))

    def slots(self) -> list[tuple[object, ...]]:
        """What the source keeps for us."""
        return self.source.query(SLOTS)


class Ways:
    """Both servers behind a proxy each."""

    def __init__(self, source: Database, target: Database, to_source: Proxy, to_target: Proxy) -> None:
        self.source, self.target = source, target
        self.to_source, self.to_target = to_source, to_target

    def migration(self) -> Watched:
        # Connecting into nothing is given up sooner than by default, as a user might choose.
        return Watched(
            self.source,
            self.target,
            source_conninfo=self.to_source.conninfo(self.source.conninfo) + " connect_timeout=3",
            target_conninfo=self.to_target.conninfo(self.target.conninfo) + " connect_timeout=3",
        )


def pace(target: Database, seconds: float) -> None:
    """How long each insert into item takes from now on."""
    target.execute("update pace set seconds = %s", [seconds])


DIRECTIONS = [(Way.TO_SERVER,), (Way.TO_CLIENT,), (Way.TO_SERVER, Way.TO_CLIENT)]


def name_of(ways: tuple[Way, ...]) -> str:
    return " and ".join(way.value for way in ways)
