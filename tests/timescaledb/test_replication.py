"""Hypertables through a running engine, Apache edition on both sides."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from engine.catalog.publication_plan import plan_publication
from engine.catalog.table import TableName
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.cutover.fence import pass_fence
from engine.cutover.outcome import FenceOutcome
from engine.errors import BlockedError, Side
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.engine.test_verify import verified
from tests.timescaledb.moving import fill, session_on
from tests.timescaledb.samples import HYPERTABLES
from tests.waiting import wait_until

_METRICS = """
create schema app;
create table app.metrics (at timestamptz not null, device int not null, value float8, note text,
                          primary key (device, at));
select create_hypertable('app.metrics', 'at', chunk_time_interval => interval '1 day');
"""

_ALL = (
    "app.metrics",
    "app.plain_time",
    "app.days",
    "app.ticks",
    "app.small_ticks",
    "app.spread",
    "app.documents",
    "app.elsewhere",
    '"O\'dd ""S"""."Ta\'ble ""x"""',
)

_ROWS = """
insert into app.metrics
select '2026-01-01 00:30:00+00'::timestamptz + i * interval '1 hour', i % 3, i, 'n' || i
  from generate_series({first}, {last}) i
"""


def _rows(first: int, last: int) -> str:
    return _ROWS.format(first=first, last=last)


def _pair(source: Database, target: Database) -> None:
    for database in (source, target):
        fill(database, _METRICS)


def test_chunks_old_and_new_are_copied_and_followed(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 100))
    apache_source.execute("create publication pub for table app.metrics")
    # After the publication: nobody has published this one.
    apache_source.execute(_rows(101, 150))
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        migration.assert_equal("app.metrics")
        apache_source.execute("update app.metrics set value = value + 1000 where device = 1")
        apache_source.execute("delete from app.metrics where device = 2 and value < 40")
        # New chunks while it runs, with columns that the old ones have at other places.
        apache_target.execute("alter table app.metrics add column more text default 'm'")
        apache_source.execute("alter table app.metrics drop column note")
        apache_source.execute("alter table app.metrics add column more text default 'm'")
        apache_source.execute(_rows(151, 250).replace(", 'n' || i", ""))
        apache_source.execute("update app.metrics set more = 'changed' where value::int % 7 = 0")
        assert drained(migration).reached
        apache_target.execute("alter table app.metrics drop column note")
        migration.assert_equal("app.metrics")


def test_rows_of_a_chunk_made_right_before_the_fence_are_waited_for(
    apache_source: Database, apache_target: Database
) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute("create publication pub for table app.metrics")
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        for number in range(4):
            apache_source.execute(_rows(number * 100, number * 100 + 99))
            assert drained(migration).reached
            migration.assert_equal("app.metrics")


def test_every_kind_of_hypertable_under_live_writes(apache_source: Database, apache_target: Database) -> None:
    fill(apache_source, HYPERTABLES)
    fill(apache_target, HYPERTABLES)
    for name in _ALL:
        apache_target.execute(f"truncate {name}")
        apache_source.execute(f"alter table {name} replica identity full")
    apache_source.execute(f"create publication pub for table {', '.join(_ALL)}")
    with Migration(apache_source, apache_target, sync_workers=4) as migration:
        with _written(apache_source):
            wait_until(lambda: any(table.rows_copied for table in migration.snapshot.tables))
            # A restart in the middle reads again what is known of chunks.
            migration.restart()
            wait_until(lambda: sum(table.changes_applied for table in migration.snapshot.tables) > 50)
        assert drained(migration).reached
        migration.assert_equal("app.metrics", "app.plain_time", "app.ticks", "app.spread", "app.elsewhere")
        migration.assert_equal("app.days", "app.small_ticks", "app.documents")
        assert verified(migration).is_equal


def test_a_schema_that_is_published_whole(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 50))
    apache_source.execute("create publication pub for tables in schema app")
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        apache_source.execute(_rows(51, 150))
        apache_source.execute("update app.metrics set note = 'changed'")
        assert drained(migration).reached
        migration.assert_equal("app.metrics")


def test_truncating_a_hypertable(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 100))
    apache_source.execute("create publication pub for table app.metrics")
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        # Its rows stay on the target until the hypertable is emptied.
        apache_source.execute("select drop_chunks('app.metrics', '2026-01-03'::timestamptz)")
        apache_source.execute("truncate app.metrics")
        migration.wait_applied()
        assert apache_target.query("select count(*) from app.metrics") == [(0,)]
        apache_source.execute(_rows(0, 30))
        assert drained(migration).reached
        migration.assert_equal("app.metrics")


def test_truncating_one_chunk_leaves_the_others(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 100))
    apache_source.execute("create publication pub for table app.metrics")
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        chunk = apache_source.query("select show_chunks('app.metrics')::text limit 1")[0][0]
        apache_source.execute(f"truncate {chunk}")
        assert "holds rows of other source tables" in migration.wait_set_aside(chunk)
        assert apache_target.query("select count(*) from app.metrics") == [(101,)]


def test_hypertable_into_a_plain_table_and_back(apache_source: Database, apache_target: Database) -> None:
    apache_source.execute(
        """
        create table one (id int primary key, at timestamptz not null, v int);
        create table two (at timestamptz not null, id int, v int, primary key (id, at));
        select create_hypertable('two', 'at', chunk_time_interval => interval '1 day');
        insert into one select i, '2026-01-01'::timestamptz + i * interval '1 hour', i
          from generate_series(1, 100) i;
        insert into two select '2026-01-01'::timestamptz + i * interval '1 hour', i, i
          from generate_series(1, 100) i;
        create publication pub for table one, two;
        """
    )
    apache_target.execute(
        """
        create table one (id int, at timestamptz not null, v int, primary key (id, at));
        select create_hypertable('one', 'at', chunk_time_interval => interval '6 hours');
        create table two (at timestamptz not null, id int, v int, primary key (id, at));
        """
    )
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        # The hypertable's UPDATE cannot move a row to another chunk.
        apache_source.execute("update one set at = at + interval '10 days', v = v + 1 where id % 2 = 0")
        apache_source.execute("update one set at = at + interval '20 days' where id = 7")
        apache_source.execute("update one set v = -1 where id = 9")
        apache_source.execute("delete from one where id > 90")
        apache_source.execute("update two set v = -v where id < 50")
        apache_source.execute("delete from two where id > 80")
        apache_source.execute("insert into two values ('2027-01-01', 1000, 1)")
        assert drained(migration).reached
        migration.assert_equal("one", "two")


def test_many_into_one_hypertable(apache_source: Database, apache_target: Database) -> None:
    apache_source.execute(
        """
        create table part_1 (at timestamptz not null, id int, primary key (id, at));
        create table part_2 (at timestamptz not null, id int, primary key (id, at));
        select create_hypertable('part_1', 'at', chunk_time_interval => interval '1 day');
        insert into part_1 select '2026-01-01'::timestamptz + i * interval '1 hour', i
          from generate_series(1, 100) i;
        insert into part_2 select '2026-01-01'::timestamptz + i * interval '1 hour', 1000 + i
          from generate_series(1, 100) i;
        create publication pub for table part_1, part_2;
        """
    )
    apache_target.execute(
        """
        create table whole (at timestamptz not null, id int, primary key (id, at));
        select create_hypertable('whole', 'at', chunk_time_interval => interval '1 week');
        """
    )
    mapped = '{"source":{"schema":"public","table":"part_.*"},"target":{"schema":"public","table":"whole"}}'
    with Migration(apache_source, apache_target, table_map=(mapped,)) as migration:
        migration.wait_ready()
        apache_source.execute("insert into part_1 values ('2026-07-01', 1)")
        apache_source.execute("delete from part_2 where id < 1050")
        assert drained(migration).reached
        both = apache_source.query("select * from part_1 union all select * from part_2 order by 1, 2")
        assert apache_target.query("select * from whole order by 1, 2") == both


def test_a_chunk_is_retried_without_the_others(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 100))
    apache_source.execute("create publication pub for table app.metrics")
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        chunk = apache_source.query("select show_chunks('app.metrics')::text limit 1")[0][0]
        apache_target.execute("delete from app.metrics where value = 3")
        apache_source.execute("update app.metrics set note = 'x' where value = 3")
        migration.wait_set_aside(chunk)
        broken = next(table for table in migration.snapshot.tables if table.last_error is not None)
        migration.engine.retry(broken.source_oid)
        wait_until(lambda: not migration.snapshot.tables_set_aside)
        assert drained(migration).reached
        migration.assert_equal("app.metrics")


def test_a_chunk_that_left_the_publication_is_set_aside(
    apache_source: Database, apache_target: Database
) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 50))
    apache_source.execute("create publication pub for table app.metrics")
    with Migration(apache_source, apache_target) as migration:
        migration.wait_ready()
        chunk = apache_source.query("select show_chunks('app.metrics')::text limit 1")[0][0]
        apache_source.execute(f"alter publication pub drop table {chunk}")
        apache_source.execute("update app.metrics set note = 'missed'")
        assert "taken out of the publication" in migration.wait_set_aside(chunk)
        broken = next(table for table in migration.snapshot.tables if table.last_error is not None)
        migration.engine.retry(broken.source_oid)
        wait_until(lambda: not migration.snapshot.tables_set_aside)
        assert drained(migration).reached
        migration.assert_equal("app.metrics")


def test_rows_on_the_target_are_not_doubled(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 10))
    apache_target.execute(_rows(5, 5))
    apache_source.execute("create publication pub for table app.metrics")
    with Migration(apache_source, apache_target) as migration:
        chunk = apache_source.query("select show_chunks('app.metrics')::text limit 1")[0][0]
        assert "already holds rows" in migration.wait_set_aside(chunk)


def refusal(source: Database, target: Database, **options: Any) -> str:
    with Migration(source, target, **options) as migration:
        assert migration.engine.join(60)
    assert isinstance(migration.engine.error, BlockedError)
    return migration.engine.error.failure.title


def test_what_would_lose_rows_is_refused(apache_source: Database, apache_target: Database) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute(_rows(0, 50))
    chunk = apache_source.query("select show_chunks('app.metrics')::text limit 1")[0][0]
    apache_source.execute(f"create publication pub for table {chunk}")
    assert "without its hypertable" in refusal(apache_source, apache_target)
    apache_source.execute("alter publication pub set table app.metrics where (device = 1)")
    assert "column list or a row filter" in refusal(apache_source, apache_target)
    apache_source.execute("alter publication pub set table app.metrics, _timescaledb_catalog.chunk")
    assert "TimescaleDB's own" in refusal(apache_source, apache_target)
    apache_source.execute("alter publication pub set table app.metrics")
    assert "copies no rows" in refusal(apache_source, apache_target, copy_data=False)


def test_a_role_that_may_not_publish_new_chunks_is_refused(
    apache_source: Database, apache_target: Database
) -> None:
    _pair(apache_source, apache_target)
    apache_source.execute("create publication pub for table app.metrics")
    role = f"reader_{secrets.token_hex(3)}"
    apache_source.execute(f"create role {role} login replication password 'x'")
    try:
        conninfo = psycopg.conninfo.make_conninfo(apache_source.conninfo, user=role, password="x")
        title = refusal(apache_source, apache_target, source_conninfo=conninfo)
        assert "may not add new chunks of app.metrics" in title
    finally:
        apache_source.execute(f"drop role {role}")


def drained(migration: Migration) -> FenceOutcome:
    endpoint = parse_endpoint(Side.SOURCE, migration.source.conninfo)
    with open_session(endpoint, "test") as session:
        return pass_fence(migration.engine, session, timeout_seconds=90)


@contextmanager
def _written(source: Database) -> Iterator[None]:
    """Rows change and chunks are made all the time."""
    stop = threading.Event()

    def write() -> None:
        with source.connect() as connection:
            number = 0
            while not stop.wait(0.1):
                number += 1
                connection.execute(
                    "insert into app.metrics"
                    " select '2026-03-01'::timestamptz + %(n)s * interval '1 hour', d, 1"
                    " from generate_series(1, 3) d",
                    {"n": number},
                )
                connection.execute(
                    "insert into app.spread select '2026-03-01'::timestamptz + %(n)s * interval '1 day',"
                    " 'd' || %(n)s %% 2, 'e', %(n)s, 1",
                    {"n": number},
                )
                connection.execute("update app.metrics set value = value + 1 where value = %s", [number % 20])
                connection.execute("update app.elsewhere set v = v + 1")
                connection.execute("delete from app.spread where v = 1 and n = %s::int - 10", [number])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_a_publication_with_chunks_needs_no_change(apache_source: Database) -> None:
    fill(apache_source, _METRICS)
    apache_source.execute(_rows(0, 50))
    apache_source.execute(
        "create publication pub for table app.metrics with (publish_via_partition_root = true)"
    )
    with session_on(apache_source, Side.SOURCE) as session:
        assert plan_publication(session, "pub", [TableName("app", "metrics")]).statements == ()
