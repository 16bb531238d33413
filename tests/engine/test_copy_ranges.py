"""Large tables copied in ranges, several at a time; the size that counts as large is lowered for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.replication import copy_plan
from engine.replication.copy_plan import CopyRange, plan_ranges
from engine.replication.publication import list_published_tables
from engine.snapshot import Phase, TableState
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until

RANGE_BYTES = 256 * 1024

ITEM = "create table item (id bigint primary key, body text, version int not null default 0)"

FILL = "insert into item select n, repeat(md5(n::text), 4) from generate_series(1, 20000) n"
"""About 4 MB: some fifteen ranges."""

GATE = """
create function wait_at_gate() returns trigger language plpgsql as $$
begin
    perform pg_catalog.pg_advisory_xact_lock_shared(4711);
    return new;
end $$;
create trigger gate before insert on item for each row when ({condition}) execute function wait_at_gate();
alter table item enable always trigger gate;
"""

COPYING = """
select pid from pg_stat_activity
 where datname = current_database() and application_name ~ '^livesync-tui copy '
"""


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_plan, "RANGE_BYTES", RANGE_BYTES)


@pytest.fixture
def item(source_db: Database, target_db: Database) -> None:
    """One published table of many ranges, empty on the target."""
    for side in (source_db, target_db):
        side.execute(ITEM)
    source_db.execute(FILL)
    source_db.execute("create publication pub for table item")


@contextmanager
def gate(target: Database, at: int | str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Whoever inserts row ``at`` of item (or such rows) waits until the gate is opened."""
    target.execute(GATE.format(condition=f"new.id = {at}" if isinstance(at, int) else at))
    with target.connect() as connection:
        connection.execute("select pg_advisory_lock(4711)")
        yield connection


def open_gate(keeper: psycopg.Connection[tuple[object, ...]]) -> None:
    keeper.execute("select pg_advisory_unlock_all()")


def rows_there(target: Database) -> int:
    return int(target.query("select count(*) from item")[0][0])


def wait_rest_copied(target: Database) -> int:
    """Until all ranges are committed but the one at the gate; how many rows they hold."""
    seen = [-1]

    def stands_still() -> bool:
        # The ranges left have about 1300 rows each; nothing but the one at the gate can be missing then.
        seen.append(rows_there(target))
        return seen[-1] > 18_000

    wait_until(stands_still, describe=lambda: seen[-5:])
    return seen[-1]


def recorded(target: Database) -> list[tuple[object, ...]]:
    return target.query("select state, copy_again from _ts_live_sync.subscription_rel")


def ranges_of(source: Database, *, version: int | None = None) -> list[tuple[CopyRange, list[str]]]:
    """Every range of the one published table, with the rows it selects."""
    with (
        open_session(parse_endpoint(Side.SOURCE, source.conninfo), "test") as session,
        session.transaction(),
    ):
        (table,) = list_published_tables(session, ["pub"])
        ranges = plan_ranges(session, table, server_version=version or session.info.server_version)
        found = []
        for part in ranges:
            statement = sql.SQL("select {}::text from only {}").format(
                sql.SQL(", ").join([sql.Identifier("id")]),
                sql.Identifier(part.relation.schema, part.relation.table),
            )
            if part.condition is not None:
                statement = sql.SQL("{} where {}").format(statement, part.condition)
                if version is None:
                    plan = session.execute(sql.SQL("explain {}").format(statement)).fetchall()
                    assert "Tid Range Scan" in str(plan[0][0]), plan
            found.append((part, [str(row[0]) for row in session.execute(statement).fetchall()]))
        return found


def assert_each_row_once(source: Database, found: list[tuple[CopyRange, list[str]]], table: str) -> None:
    expected = sorted(str(row[0]) for row in source.query(f"select id::text from {table}"))
    assert sorted(identity for _, rows in found for identity in rows) == expected


@pytest.mark.usefixtures("item")
@pytest.mark.parametrize("analyzed", [True, False])
@pytest.mark.parametrize("version", [None, 130_000], ids=["pages", "keys"])
def test_every_row_is_in_exactly_one_range(version: int | None, analyzed: bool, source_db: Database) -> None:
    source_db.execute("insert into item select -n * 1000, 'negative' from generate_series(1, 100) n")
    source_db.execute("delete from item where id between 5000 and 12000")
    source_db.execute("update item set version = 1 where id % 3 = 0")
    if analyzed:
        source_db.execute("vacuum analyze item")
    found = ranges_of(source_db, version=version)
    assert len(found) >= 10
    assert_each_row_once(source_db, found, "item")


def test_a_key_of_extreme_numbers_or_of_no_row_is_cut(source_db: Database) -> None:
    source_db.execute("create table item (id bigint primary key, body text)")
    source_db.execute("alter table item alter body set storage external")
    source_db.execute("create publication pub for table item")
    source_db.execute(
        "insert into item select n, repeat('x', 1000000) from unnest(array[-9223372036854775808,"
        " -1, 0, 9223372036854775807]) n"
    )
    found = ranges_of(source_db, version=130_000)
    assert len(found) > 10
    assert_each_row_once(source_db, found, "item")
    source_db.execute("delete from item")
    assert_each_row_once(source_db, ranges_of(source_db, version=130_000), "item")


@pytest.mark.parametrize("key", ["text primary key", "numeric primary key", "bigint"])
def test_before_14_a_table_without_a_plain_integer_key_is_one_range(key: str, source_db: Database) -> None:
    source_db.execute(f"create table item (id {key}, body text)")
    source_db.execute(FILL.replace("select n, ", "select n::text::numeric::int, "))
    source_db.execute("create publication pub for table item")
    found = ranges_of(source_db, version=130_000)
    assert [part.condition for part, _ in found] == [None]
    assert len(ranges_of(source_db)) > 10


def test_rows_out_of_line_count(source_db: Database) -> None:
    source_db.execute("create table item (id int primary key, body text)")
    source_db.execute("alter table item alter body set storage external")
    source_db.execute("insert into item select n, repeat('x', 30000) from generate_series(1, 1000) n")
    source_db.execute("create publication pub for table item")
    found = ranges_of(source_db)
    pages = source_db.query("select pg_relation_size('item') / 8192")[0][0]
    assert len(found) == pages > 5
    assert_each_row_once(source_db, found, "item")


@pytest.mark.usefixtures("item")
def test_ranges_are_copied_at_a_time_by_as_many_streams_as_there_are_workers(
    source_db: Database, target_db: Database
) -> None:
    ranges = len(ranges_of(source_db))
    with (
        gate(target_db, "new.id % 100 = 0") as keeper,
        Migration(source_db, target_db, sync_workers=3) as migration,
    ):
        wait_until(lambda: migration.snapshot.sync_workers_busy == 3, describe=lambda: migration.snapshot)
        wait_until(lambda: len(source_db.query(COPYING)) == 3, describe=lambda: source_db.query(COPYING))
        assert recorded(target_db) == [("d", True)]
        source_db.execute("insert into item select n, 'meanwhile' from generate_series(20001, 20500) n")
        source_db.execute("update item set version = 1 where id % 7 = 0")
        source_db.execute("delete from item where id % 11 = 0")
        assert len(source_db.query(COPYING)) == 3
        open_gate(keeper)
        migration.wait_ready()
        migration.wait_applied()
        migration.assert_equal("item")
        (table,) = migration.snapshot.tables
        assert table.rows_copied == 20_000
        # Each range has a header and a trailer, a row the number of its columns, a value its length.
        assert table.bytes_copied == (19 + 2) * ranges + 20_000 * (2 + 4 + 8 + 4 + 128 + 4 + 4)
        assert recorded(target_db) == [("r", False)]
        assert target_db.query("select rows_copied from _ts_live_sync.subscription_rel") == [(20_000,)]
        assert source_db.query(COPYING) == target_db.query(COPYING) == []


def test_toast_filters_lists_and_gone_rows(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        'create table "Big ""t" (id int primary key, "a b" text, secret text, kind int) with (fillfactor=20)'
    )
    target_db.execute('create table "Big ""t" (kind int, id int primary key, "a b" text)')
    source_db.execute(
        """insert into "Big ""t" select n, case when n % 50 = 0 then
             (select string_agg(md5(i::text || n), '') from generate_series(1, 300) i)
             else E'a\\tb\\\\\\n' || n end, 'secret', n % 5 from generate_series(1, 10000) n"""
    )
    source_db.execute('delete from "Big ""t" where id between 3000 and 8000')
    source_db.execute("vacuum")
    source_db.execute(
        'create publication pub for table "Big ""t" (id, "a b", kind) where (kind = 1 or kind = 2)'
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source = source_db.query('select id, "a b", kind from "Big ""t" where kind in (1, 2) order by id')
        assert target_db.query('select id, "a b", kind from "Big ""t" order by id') == source
        assert len(source) > 1000
    assert len(ranges_of(source_db)) > 5


PARTITIONED = """
create table item (id int not null, body text, kind int not null, primary key (id, kind))
    partition by list (kind);
create table item_small partition of item for values in (0);
create table item_large partition of item for values in (1) partition by range (id);
create table item_low partition of item_large for values from (minvalue) to (10000);
create table item_high partition of item_large for values from (10000) to (maxvalue);
create table item_none partition of item for values in (2);
"""


def test_partitions_of_a_root_are_ranges(source_db: Database, target_db: Database) -> None:
    source_db.execute(PARTITIONED)
    target_db.execute("create table item (kind int, id int primary key, body text)")
    source_db.execute(
        "insert into item select n, repeat(md5(n::text), 4), (n % 100 > 0)::int"
        " from generate_series(1, 20000) n"
    )
    source_db.execute(
        "create publication pub for table item where (id <> 77) with (publish_via_partition_root)"
    )
    found = ranges_of(source_db)
    assert {part.relation.table for part, _ in found} == {"item_small", "item_low", "item_high", "item_none"}
    assert len(found) > 10
    sizes = [part.size_bytes for part, _ in found]
    assert sizes == sorted(sizes, reverse=True)
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update item set body = 'new' where id % 9 = 0")
        migration.wait_applied()
        everything = "select id, body, kind from item where id <> 77 order by id"
        assert target_db.query("select id, body, kind from item order by id") == source_db.query(everything)


@pytest.mark.usefixtures("item")
@pytest.mark.parametrize(
    "what", ["vacuum full item", "truncate item", "alter table item alter id type numeric"]
)
def test_a_rewrite_of_the_table_waits_for_its_copy(
    what: str, source_db: Database, target_db: Database
) -> None:
    # Rows that are gone, so that the others would move.
    source_db.execute("delete from item where id % 2 = 0")
    with gate(target_db, 19_999) as keeper, Migration(source_db, target_db) as migration:
        wait_until(lambda: rows_there(target_db) > 0, describe=lambda: migration.snapshot)
        rewrite = threading.Thread(target=source_db.execute, args=(what,), daemon=True)
        rewrite.start()
        wait_until(
            lambda: source_db.query(
                "select from pg_locks where relation = 'item'::regclass and not granted and mode ~ '^Access'"
            ),
            describe=lambda: migration.snapshot,
        )
        open_gate(keeper)
        rewrite.join(30)
        assert not rewrite.is_alive()
        source_db.execute("insert into item select n, 'after' from generate_series(30001, 30010) n")
        migration.wait_ready()
        migration.wait_applied()
        migration.assert_equal("item")
        assert not any("Trying again" in event.text for event in migration.engine.events(0))


@pytest.mark.usefixtures("item")
def test_a_worker_that_would_wait_behind_a_rewrite_does_not_join(
    source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        side.execute("create table small (id int primary key)")
    source_db.execute("insert into small values (1)")
    source_db.execute("alter publication pub add table small")
    # The other worker is kept busy by a lock on small, and joins when the rewrite waits already.
    with gate(target_db, 1) as keeper, target_db.connect(autocommit=False) as locker:
        locker.execute("lock table small in share mode")
        with Migration(source_db, target_db) as migration:
            wait_until(
                lambda: target_db.query("select from pg_locks where locktype = 'advisory' and not granted"),
                describe=lambda: migration.snapshot,
            )
            # Its slot is there by then: a waiting rewrite has a transaction id, and would hold that up too.
            wait_until(
                lambda: target_db.query(
                    "select from pg_locks where relation = 'small'::regclass and not granted"
                ),
                describe=lambda: migration.snapshot,
            )
            rewrite = threading.Thread(target=source_db.execute, args=("vacuum full item",), daemon=True)
            rewrite.start()
            wait_until(
                lambda: source_db.query(
                    "select from pg_locks where relation = 'item'::regclass and not granted"
                ),
                describe=lambda: migration.snapshot,
            )
            locker.rollback()
            wait_until(
                lambda: any("by fewer workers" in event.text for event in migration.engine.events(0)),
                describe=lambda: migration.engine.events(0),
            )
            open_gate(keeper)
            migration.wait_ready()
            migration.assert_equal("item", "small")
            rewrite.join(30)
            assert not rewrite.is_alive()


@pytest.mark.usefixtures("item")
def test_a_refused_row_sets_the_table_aside_and_leaves_nothing_running(
    source_db: Database, target_db: Database
) -> None:
    target_db.execute("alter table item add constraint too_high check (id <> 19999)")
    with Migration(source_db, target_db, sync_workers=3) as migration:
        error = migration.wait_set_aside("public.item")
        assert "too_high" in error
        assert "public.item" in error
        for side in (source_db, target_db):
            wait_until(
                lambda side=side: side.query(COPYING) == [], describe=lambda side=side: side.query(COPYING)
            )
        wait_until(
            lambda: (
                source_db.query("select slot_name from pg_replication_slots where slot_name ~ '_sync$'") == []
            )
        )
        assert 0 < rows_there(target_db) < 19_999
        assert recorded(target_db) == [("d", True)]
        target_db.execute("alter table item drop constraint too_high")
        migration.engine.retry(migration.snapshot.tables[0].source_oid)
        wait_until(lambda: not migration.snapshot.tables_set_aside)
        migration.wait_ready()
        migration.assert_equal("item")


@pytest.mark.usefixtures("item")
def test_rows_of_somebody_else_are_not_emptied(source_db: Database, target_db: Database) -> None:
    target_db.execute("insert into item values (-1, 'mine')")
    with Migration(source_db, target_db) as migration:
        assert "already holds rows" in migration.wait_set_aside("public.item")
    assert target_db.query("select id from item") == [(-1,)]


@pytest.mark.usefixtures("item")
@pytest.mark.parametrize("is_referenced", [False, True], ids=["truncate", "delete"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_sessions_ended_in_mid_copy_double_nothing(
    side: str, is_referenced: bool, source_db: Database, target_db: Database
) -> None:
    if is_referenced:
        target_db.execute("create table detail (item bigint references item)")
    with gate(target_db, 20_000) as keeper, Migration(source_db, target_db) as migration:
        wait_rest_copied(target_db)
        (source_db if side == "source" else target_db).execute(
            f"select pg_terminate_backend(pid) from ({COPYING}) as copying"
        )
        source_db.execute("update item set version = 2 where id % 5 = 0")
        open_gate(keeper)
        # Also when all ranges were read by then: who lost its session lost the table's lock as well.
        wait_until(
            lambda: any("Trying again" in event.text for event in migration.engine.events(0)),
            describe=lambda: migration.engine.events(0),
        )
        migration.wait_ready()
        migration.wait_applied()
        migration.assert_equal("item")


@pytest.mark.usefixtures("item")
def test_stopped_in_mid_copy_and_started_again_doubles_nothing(
    source_db: Database, target_db: Database
) -> None:
    target_db.execute("alter table item drop constraint item_pkey")
    source_db.execute("alter table item drop constraint item_pkey, replica identity full")
    with gate(target_db, 20_000) as keeper, Migration(source_db, target_db) as migration:
        wait_rest_copied(target_db)
        migration.engine.stop()
        assert migration.engine.join(5), "a stop waits for the range at the gate"
        assert recorded(target_db) == [("d", True)]
        assert rows_there(target_db) > 0
        open_gate(keeper)
        migration.restart()
        migration.wait_ready()
        migration.assert_equal("item")


_RUN = """
import sys
from engine.replication import copy_plan
copy_plan.RANGE_BYTES = {range_bytes}
from livesync_tui.__main__ import main
sys.argv = ["livesync-tui", "run", "--publication", "pub", "--subscription", "test"]
sys.exit(main())
"""


@pytest.mark.usefixtures("item")
def test_killed_in_mid_copy_and_started_again_doubles_nothing(
    source_db: Database, target_db: Database
) -> None:
    target_db.execute("alter table item drop constraint item_pkey")
    source_db.execute("alter table item drop constraint item_pkey, replica identity full")
    with gate(target_db, 20_000) as keeper:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN.format(range_bytes=RANGE_BYTES)],
            env={**os.environ, "SOURCE": source_db.conninfo, "TARGET": target_db.conninfo},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_rest_copied(target_db)
        finally:
            process.kill()
            process.wait()
        assert recorded(target_db) == [("d", True)]
        open_gate(keeper)
        with Migration(source_db, target_db) as migration:
            migration.wait_ready()
            migration.assert_equal("item")


@pytest.mark.usefixtures("item")
def test_after_another_engine_took_over_no_range_is_committed(
    source_db: Database, target_db: Database
) -> None:
    with gate(target_db, 20_000) as keeper, Migration(source_db, target_db) as migration:
        there = wait_rest_copied(target_db)
        target_db.execute("update _ts_live_sync.subscription set epoch = epoch + 1")
        open_gate(keeper)
        wait_until(lambda: migration.snapshot.phase is Phase.FAILED, describe=lambda: migration.snapshot)
        failure = migration.snapshot.failure
        assert failure is not None
        assert "Another engine has taken over" in failure.title
    assert rows_there(target_db) == there < 20_000
    assert recorded(target_db) == [("d", True)]


ITEM2_INTO_ITEM = (
    '{"source": {"schema": "public", "table": "item2"}, "target": {"schema": "public", "table": "item"}}'
)


@pytest.mark.usefixtures("item")
def test_a_target_that_several_tables_share_is_written_by_one_transaction_for_each(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute("create table item2 (id bigint primary key, body text, version int default 0)")
    source_db.execute("insert into item2 select n, repeat('y', 128) from generate_series(100001, 120000) n")
    source_db.execute("alter publication pub add table item2")
    with (
        gate(target_db, 20_000) as keeper,
        Migration(source_db, target_db, table_map=(ITEM2_INTO_ITEM,), sync_workers=4) as migration,
    ):
        wait_until(
            lambda: any(
                table.source_name == "public.item2" and table.state is TableState.READY
                for table in migration.snapshot.tables
            ),
            describe=lambda: migration.snapshot,
        )
        assert target_db.query("select count(*) from item where id <= 20000") == [(0,)]
        open_gate(keeper)
        migration.wait_ready()
        assert rows_there(target_db) == 40_000
