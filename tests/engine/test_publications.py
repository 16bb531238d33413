"""What a publication leaves out stays out, what it takes in comes whole, also when it changes meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.snapshot import TableState
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.faults.migrating import all_ready, wait_drained
from tests.faults.running import RunProcess
from tests.waiting import wait_until


@pytest.fixture(autouse=True, params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a change."""
    changes = 0 if request.param == "batched" else 1_000_000
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", changes)
    return str(request.param)


def both(source: Database, target: Database, ddl: str) -> None:
    """Create the same objects on both sides."""
    source.execute(ddl)
    target.execute(ddl)


def assert_filtered(source: Database, target: Database, table: str, condition: str) -> None:
    """The target has exactly the source's rows of ``condition``."""
    rows = f"select {table}::text from {table} order by 1"
    assert target.query(rows) == source.query(rows.replace(" order", f" where {condition} order"))
    assert target.query(rows)


def names(migration: Migration) -> list[str]:
    return [table.source_name for table in migration.snapshot.tables]


def refresh(migration: Migration, *expected: str) -> None:
    """Refresh and wait until exactly these tables are in r."""
    migration.engine.refresh_publication()
    wait_until(lambda: names(migration) == sorted(expected), describe=lambda: migration.snapshot.tables)
    migration.wait_ready()


def test_columns_outside_the_list_keep_the_target_s_values(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table item (secret text, id int primary key, name text, n int default 1)")
    # The target need not have the columns that are left out, and may have them with values of its own.
    target_db.execute("create table item (id int primary key, n int default 42, name text)")
    source_db.execute(
        "insert into item (id, name, secret) select i, 'n' || i, 's' from generate_series(1, 50) i"
    )
    source_db.execute("create publication pub for table item (name, id)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("insert into item values ('hidden', 51, 'new', 5), ('hidden', 52, null, 6)")
        source_db.execute("update item set secret = 'changed', n = 7 where id < 10")
        source_db.execute("update item set name = 'named' where id between 5 and 20")
        source_db.execute("delete from item where id = 30")
        source_db.execute("update item set id = 100 where id = 40")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        same = "select id, name from item order by id"
        assert target_db.query(same) == source_db.query(same)
        assert target_db.query("select distinct n from item") == [(42,)]


@pytest.mark.parametrize("identity", ["default", "full"])
def test_updates_move_rows_into_and_out_of_a_row_filter(
    identity: str, source_db: Database, target_db: Database
) -> None:
    both(
        source_db,
        target_db,
        "create table item (region text, id int, n int, primary key (region, id));"
        f"alter table item replica identity {identity}",
    )
    source_db.execute(
        "insert into item select case i % 2 when 0 then 'eu' else 'us' end, i, i from generate_series(1,60) i"
    )
    source_db.execute("create publication pub for table item where (region = 'eu')")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        assert len(rows_of(target_db, "item")) == 30
        source_db.execute("update item set region = 'us' where region = 'eu' and id <= 10")
        source_db.execute("update item set region = 'eu', n = -n where region = 'us' and id > 50")
        source_db.execute("update item set n = 0 where id % 3 = 0; delete from item where id % 7 = 0")
        source_db.execute(
            "begin; insert into item values ('us', 70, 1); update item set region = 'eu' where id = 70;"
            "update item set region = 'us' where id = 70; update item set region = 'eu', n = 5 where id = 70;"
            "insert into item values ('eu', 71, 1); update item set region = 'us' where id = 71; commit"
        )
        migration.wait_applied()
        assert_filtered(source_db, target_db, "item", "region = 'eu'")


def test_rows_that_one_of_two_filters_lets_through_arrive_once(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item select i, i from generate_series(1, 100) i")
    source_db.execute("create publication pub for table item where (id < 30)")
    source_db.execute("create publication pub2 for table item where (id > 20 and id < 90)")
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute("insert into item select i, i from generate_series(101, 110) i")
        source_db.execute("delete from item where id = 25")
        source_db.execute("update item set id = id - 200 where id > 105")
        source_db.execute("update item set n = 0 where id % 2 = 0")
        migration.wait_applied()
        assert_filtered(source_db, target_db, "item", "id < 90")


def test_a_publication_without_a_filter_lifts_the_other_one_s(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item select i, i from generate_series(1, 100) i")
    source_db.execute("create publication pub for table item where (id < 30)")
    source_db.execute("create publication pub2 for table item")
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute("insert into item values (200, 1)")
        source_db.execute("update item set n = 0 where id > 20")
        source_db.execute("delete from item where id > 90")
        migration.wait_applied()
        migration.assert_equal("item")


def test_a_table_added_by_a_refresh_is_copied_by_the_filters_of_both(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table first (id int primary key); create table item (id int, n int)")
    source_db.execute("alter table item replica identity full")
    source_db.execute(
        "insert into item select i, i from generate_series(1, 100) i; insert into item (n) values (1)"
    )
    source_db.execute("create publication pub for table first; create publication pub2 for table first")
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute("alter publication pub add table item where (id < 30 or id is null)")
        source_db.execute("alter publication pub2 add table item where (id > 20 and id < 90)")
        refresh(migration, "public.first", "public.item")
        source_db.execute("insert into item values (10, 0), (25, 0), (60, 0), (95, 0), (null, 0)")
        migration.wait_applied()
        assert_filtered(source_db, target_db, "item", "id < 90 or id is null")


def test_only_inserts_arrive_where_only_inserts_are_published(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item values (1, 1), (2, 2)")
    source_db.execute("create publication pub for table item with (publish = 'insert')")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update item set n = 9")
        source_db.execute("delete from item where id = 2")
        source_db.execute("insert into item values (3, 3)")
        source_db.execute("truncate item; insert into item values (4, 4)")
        migration.wait_applied()
        assert rows_of(target_db, "item") == ["(1,1)", "(2,2)", "(3,3)", "(4,4)"]


def test_a_truncate_that_is_not_published_does_not_arrive(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table item (id int primary key); create table other (id int primary key)",
    )
    source_db.execute("insert into item values (1), (2); insert into other values (1)")
    source_db.execute("create publication pub for table item with (publish = 'insert, update, delete')")
    source_db.execute("create publication pub2 for table other")
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute("truncate item, other; insert into item values (3)")
        migration.wait_applied()
        assert rows_of(target_db, "item") == ["(1)", "(2)", "(3)"]
        assert rows_of(target_db, "other") == []


def test_a_schema_publication_takes_up_new_tables_after_a_refresh(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, 'create schema "My Shop"; create table "My Shop".a (id int primary key)')
    source_db.execute(
        'insert into "My Shop".a values (1); create publication pub for tables in schema "My Shop"'
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        both(source_db, target_db, 'create table "My Shop".b (id int primary key); create table c (id int)')
        source_db.execute('insert into "My Shop".b values (1); insert into "My Shop".a values (2)')
        refresh(migration, '"My Shop".a', '"My Shop".b')
        source_db.execute('insert into "My Shop".b values (2); delete from "My Shop".a where id = 1')
        migration.wait_applied()
        migration.assert_equal("My Shop.a", "My Shop.b")
        # A table that moves out of the schema is no longer published; its rows stay.
        source_db.execute('alter table "My Shop".b set schema public; insert into b values (3)')
        refresh(migration, '"My Shop".a')
        source_db.execute('insert into b values (4); insert into "My Shop".a values (5)')
        migration.wait_applied()
        migration.assert_equal("My Shop.a")
        assert rows_of(target_db, "My Shop.b") == ["(1)", "(2)"]


PARTITIONED = """
create table event (id int, note text, primary key (id)) partition by range (id);
create table event_1 partition of event for values from (0) to (100);
create table event_2 partition of event for values from (100) to (200);
"""
THIRD = "create table event_3 (id int, note text, primary key (id))"
ATTACH = "alter table event attach partition event_3 for values from (200) to (300)"


@pytest.mark.parametrize(
    ("publications", "by_root"),
    [
        ("create publication pub for table event with (publish_via_partition_root)", True),
        ("create publication pub for table event", False),
        (
            "create publication pub for table event;"
            "create publication pub2 for table event with (publish_via_partition_root)",
            True,
        ),
        (
            "create publication pub for table event with (publish_via_partition_root);"
            "create publication pub2 for table event_1",
            True,
        ),
        ("create publication pub for table event_1; create publication pub2 for table event_2", False),
    ],
)
def test_partitions_in_one_or_two_publications_arrive_once(
    publications: str, by_root: bool, source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, PARTITIONED)
    source_db.execute("insert into event select i, 'n' || i from generate_series(0, 199) i")
    source_db.execute(publications)
    pair = ("pub", "pub2") if "pub2" in publications else ("pub",)
    with Migration(source_db, target_db, publications=pair) as migration:
        migration.wait_ready()
        assert names(migration) == (["public.event"] if by_root else ["public.event_1", "public.event_2"])
        source_db.execute("delete from event where id % 5 = 0 or id in (111, 122)")
        source_db.execute("update event set note = 'x' where id % 3 = 0")
        source_db.execute("update event set id = id + 100 where id in (11, 22)")
        source_db.execute("update event set id = 50 where id = 151;insert into event values (0, 'again')")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        migration.assert_equal("event")
        source_db.execute("truncate event; insert into event values (7, 'seven'), (107, 'more')")
        migration.wait_applied()
        migration.assert_equal("event")
        assert len(rows_of(target_db, "event")) == 2


def test_partitions_by_leaf_come_and_go_with_a_refresh(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, PARTITIONED + THIRD)
    source_db.execute("insert into event select i, 'n' from generate_series(0, 199) i")
    source_db.execute("insert into event_3 select i, 'before' from generate_series(200, 220) i")
    source_db.execute("create publication pub for table event")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        both(source_db, target_db, ATTACH)
        source_db.execute("insert into event values (250, 'before the refresh')")
        refresh(migration, "public.event_1", "public.event_2", "public.event_3")
        source_db.execute("insert into event values (251, 'after')")
        source_db.execute("update event set note = 'x' where id = 205")
        migration.wait_applied()
        migration.assert_equal("event")
        source_db.execute("alter table event detach partition event_1")
        refresh(migration, "public.event_2", "public.event_3")
        kept = rows_of(target_db, "event_1")
        source_db.execute("delete from event_1; insert into event values (252, 'after the detach')")
        migration.wait_applied()
        migration.assert_equal("event_2", "event_3")
        assert rows_of(target_db, "event_1") == kept
        assert len(kept) == 100


def test_partitions_by_root_come_and_go_without_a_refresh(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, PARTITIONED + THIRD)
    source_db.execute("insert into event select i, 'n' from generate_series(0, 199) i")
    source_db.execute("create publication pub for table event with (publish_via_partition_root)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute(ATTACH)
        source_db.execute(ATTACH)
        source_db.execute("create table event_4 partition of event for values from (300) to (400)")
        target_db.execute("create table event_rest partition of event default")
        source_db.execute("insert into event values (250, 'third'), (350, 'fourth')")
        source_db.execute("update event set id = 351 where id = 5")
        source_db.execute("update event set note = 'x' where id = 250")
        migration.wait_applied()
        migration.assert_equal("event")
        both(source_db, target_db, "alter table event detach partition event_2")
        source_db.execute("insert into event_2 values (-1, 'not published')")
        source_db.execute("insert into event values (251, 'after the detach')")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        migration.assert_equal("event")
        assert len(rows_of(target_db, "event_2")) == 100


def run_refresh(source: Database, target: Database) -> str:
    """``livesync-tui refresh-publication``; what it said."""
    finished = subprocess.run(
        [sys.executable, "-m", "livesync_tui", "refresh-publication", "--subscription", "night"],
        env={**os.environ, "SOURCE": source.conninfo, "TARGET": target.conninfo},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


TABLES = "select tablename from _ts_live_sync.subscription_rel order by tablename"


def prepare_three(source: Database, target: Database) -> None:
    for name in "abc":
        both(source, target, f"create table {name} (id int primary key)")
        source.execute(f"insert into {name} values (1)")
    source.execute("create publication pub for table a")


def test_the_refresh_command_reaches_a_running_engine(
    source_db: Database, target_db: Database, tmp_path: Path, way: str
) -> None:
    if way != "batched":
        pytest.skip("the engine is another process, which this does not reach")
    prepare_three(source_db, target_db)
    log = tmp_path / "log"
    with RunProcess(source_db, target_db, log) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        for change, expected in (
            ("add table b", ["a", "b"]),
            ("drop table a", ["b"]),
            ("set table b, c", ["b", "c"]),
        ):
            source_db.execute(f"alter publication pub {change}")
            run_refresh(source_db, target_db)
            assert [row[0] for row in target_db.query(TABLES)] == expected
            wait_until(lambda: all_ready(target_db), describe=log.read_text)
        for name in "abc":
            source_db.execute(f"insert into {name} values (2)")
        wait_drained(source_db, target_db)
        assert process.terminate() == 0, log.read_text()
    assert {name: len(rows_of(target_db, name)) for name in "abc"} == {"a": 1, "b": 2, "c": 2}


def test_the_refresh_command_without_an_engine_is_taken_up_by_the_next_start(
    source_db: Database, target_db: Database, tmp_path: Path, way: str
) -> None:
    if way != "batched":
        pytest.skip("the engine is another process, which this does not reach")
    prepare_three(source_db, target_db)
    log = tmp_path / "log"
    with RunProcess(source_db, target_db, log) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        assert process.terminate() == 0, log.read_text()
    source_db.execute("alter publication pub set table b, c")
    run_refresh(source_db, target_db)
    for name in "abc":
        source_db.execute(f"insert into {name} values (2)")
    with RunProcess(source_db, target_db, log) as process:
        wait_until(
            lambda: [row[0] for row in target_db.query(TABLES)] == ["b", "c"] and all_ready(target_db),
            describe=log.read_text,
        )
        source_db.execute("insert into b values (3)")
        wait_drained(source_db, target_db)
        assert process.terminate() == 0, log.read_text()
    assert {name: len(rows_of(target_db, name)) for name in "abc"} == {"a": 1, "b": 3, "c": 2}


def test_a_table_taken_out_and_published_again_is_not_copied_over_its_rows(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table a (id int primary key); create table b (id int primary key)")
    source_db.execute("insert into a values (1); create publication pub for table a, b")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("alter publication pub drop table a")
        refresh(migration, "public.b")
        source_db.execute("insert into a values (2); alter publication pub add table a")
        migration.engine.refresh_publication()
        assert "already holds rows" in migration.wait_set_aside("public.a")
        target_db.execute("truncate a")
        table = next(table for table in migration.snapshot.tables if table.source_name == "public.a")
        migration.engine.retry(table.source_oid)
        wait_until(
            lambda: (
                migration.snapshot.count(TableState.READY) == 2 and not migration.snapshot.tables_set_aside
            ),
            describe=lambda: migration.snapshot.tables,
        )
        source_db.execute("insert into a values (3)")
        migration.wait_applied()
        migration.assert_equal("a")
