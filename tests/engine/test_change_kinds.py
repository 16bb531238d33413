"""Every kind of change arrives, on every kind of table, and leaves both sides equal."""

from __future__ import annotations

import pytest

from engine.snapshot import TableState
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.waiting import wait_until


@pytest.fixture(autouse=True, params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a change: small batches would otherwise never take the fast one."""
    changes = 0 if request.param == "batched" else 1_000_000
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", changes)
    return str(request.param)


def both(source: Database, target: Database, ddl: str) -> None:
    """Create the same objects on both sides."""
    source.execute(ddl)
    target.execute(ddl)


def test_rows_from_before_and_after_the_snapshot_arrive_once(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (id int primary key, name text)")
    source_db.execute("insert into item select n, 'before ' || n from generate_series(1, 1000) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        source_db.execute("insert into item select n, 'during ' || n from generate_series(1001, 1500) n")
        migration.wait_ready()
        source_db.execute("insert into item select n, 'after ' || n from generate_series(1501, 2000) n")
        migration.wait_applied()
        assert len(rows_of(target_db, "item")) == 2000
        migration.assert_equal("item")


IDENTITIES = {
    "default": "create table item (id int primary key, name text, note text)",
    "index": """create table item (id int not null, name text, note text);
                create unique index item_id on item (id);
                alter table item replica identity using index item_id""",
    "full": "create table item (id int, name text, note text); alter table item replica identity full",
}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_updates_deletes_and_key_changes(identity: str, source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, IDENTITIES[identity])
    source_db.execute("insert into item select n, 'name ' || n, null from generate_series(1, 100) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update item set note = 'seen' where id % 3 = 0")
        source_db.execute("update item set name = null where id = 5")
        source_db.execute("delete from item where id % 7 = 0")
        source_db.execute("update item set id = id + 1000 where id % 5 = 0")
        source_db.execute(
            "begin; insert into item values (1, 'again', 'x') on conflict do nothing;"
            "delete from item where id = 2; insert into item values (2, 'second life', null);"
            "update item set id = 3000 where id = 2; update item set id = 2 where id = 3000; commit"
            if identity == "default"
            else "update item set name = 'once more' where id < 4"
        )
        migration.wait_applied()
        migration.assert_equal("item")


def test_full_identity_takes_exactly_one_of_several_equal_rows(
    source_db: Database, target_db: Database
) -> None:
    both(
        source_db,
        target_db,
        "create table reading (at timestamptz, value float8, extra json); "
        "alter table reading replica identity full",
    )
    source_db.execute(
        "insert into reading select null, v, '{\"a\": 1}' "
        "from unnest(array['NaN', '-0', '0', '1', '1', '1', null]::float8[]) v"
    )
    source_db.execute("create publication pub for table reading")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        one = "ctid = (select ctid from reading where value {} limit 1)"
        source_db.execute("delete from reading where " + one.format("= 1"))
        source_db.execute("update reading set extra = null where " + one.format("= 1"))
        source_db.execute("update reading set at = 'infinity' where " + one.format("= 'NaN'"))
        source_db.execute("delete from reading where value::text = '-0'")
        source_db.execute("update reading set value = 7 where " + one.format("is null"))
        migration.wait_applied()
        migration.assert_equal("reading")


def test_a_table_without_identity_takes_inserts(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table log (line text); alter table log replica identity nothing")
    source_db.execute("create publication pub for table log with (publish = 'insert')")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("insert into log values ('same'), ('same'), (null)")
        migration.wait_applied()
        migration.assert_equal("log")


def test_unchanged_toast_is_kept(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table doc (id int primary key, a text, b text, n int);"
        "alter table doc alter a set storage external, alter b set storage external",
    )
    source_db.execute(
        "insert into doc select n, repeat('a' || n, 9000), repeat('b' || n, 9000), 0 "
        "from generate_series(1, 6) n"
    )
    source_db.execute("create publication pub for table doc")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update doc set n = 1 where id = 1")
        source_db.execute("update doc set a = 'short' where id = 2")
        source_db.execute("update doc set b = repeat('new', 9000) where id = 3")
        source_db.execute("update doc set a = null, b = null where id = 4")
        source_db.execute("update doc set id = 50 where id = 5")
        migration.wait_applied()
        migration.assert_equal("doc")


def test_unchanged_toast_under_full_identity(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table doc (a text, n int); alter table doc alter a set storage external;"
        "alter table doc replica identity full",
    )
    source_db.execute("insert into doc select repeat('a' || n, 9000), n from generate_series(1, 4) n")
    source_db.execute("create publication pub for table doc")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update doc set n = 10 where n = 1")
        source_db.execute("delete from doc where n = 2")
        migration.wait_applied()
        migration.assert_equal("doc")


def test_truncate_of_several_tables_inside_a_transaction(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table parent (id serial primary key);"
        "create table child (id int primary key, parent_id int references parent);"
        "create table other (id int primary key)",
    )
    source_db.execute("insert into parent select from generate_series(1, 10)")
    source_db.execute("insert into child select n, n from generate_series(1, 10) n")
    source_db.execute("insert into other values (1)")
    source_db.execute("create publication pub for table parent, child, other")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "begin; insert into other values (2); truncate parent restart identity cascade;"
            "insert into parent values (77); insert into child values (1, 77); commit"
        )
        migration.wait_applied()
        migration.assert_equal("parent", "child", "other")
        assert rows_of(target_db, "child") == ["(1,77)"]


def test_truncate_of_a_table_that_an_unpublished_one_references(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute("create table parent (id int primary key)")
    target_db.execute(
        "create table parent (id int primary key); create table keeper (id int references parent)"
    )
    source_db.execute("insert into parent values (1), (2)")
    source_db.execute("create publication pub for table parent")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("begin; truncate parent; insert into parent values (3); commit")
        migration.wait_applied()
        assert rows_of(target_db, "parent") == ["(3)"]


def test_generated_and_identity_columns(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table account (id int generated always as identity primary key,"
        " serial_no int generated always as identity (start 100), cents int,"
        " euro numeric generated always as (cents / 100.0) stored);"
        "create table plain (id int primary key, n int generated by default as identity)",
    )
    source_db.execute("insert into account (cents) select n from generate_series(1, 20) n")
    source_db.execute("create publication pub for table account, plain")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("insert into account (cents) values (999)")
        source_db.execute("insert into plain values (1, 5), (2, default)")
        source_db.execute("update account set cents = cents * 2 where id < 5")
        source_db.execute("update account set serial_no = default where id = 7")
        source_db.execute("update account set id = default where id = 8")
        source_db.execute("delete from account where id = 9")
        migration.wait_applied()
        migration.assert_equal("account", "plain")


PARTITIONED = """
create table event (at date, id int, note text, primary key (at, id)) partition by range (at);
create table event_2024 partition of event for values from ('2024-01-01') to ('2025-01-01');
create table event_2025 partition of event for values from ('2025-01-01') to ('2026-01-01')
    partition by list (id);
create table event_2025_one partition of event_2025 for values in (1);
create table event_2025_rest partition of event_2025 default;
"""


@pytest.mark.parametrize("via_root", [True, False])
def test_partitions_by_root_and_by_leaf(via_root: bool, source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, PARTITIONED)
    source_db.execute(
        "insert into event select date '2024-06-01' + n, n % 5, 'n' || n from generate_series(1, 400) n"
    )
    source_db.execute(
        f"create publication pub for table event with (publish_via_partition_root = {via_root})"
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        assert len(migration.snapshot.tables) == (1 if via_root else 3)
        source_db.execute("update event set note = 'changed' where id = 2")
        source_db.execute("update event set at = at + 301, note = 'moved' where at < '2024-07-01' and id = 4")
        source_db.execute("delete from event where id = 3")
        migration.wait_applied()
        migration.assert_equal("event")


def test_parents_of_inheritance_hold_their_own_rows(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table parent (id int primary key, v text);"
        "create table child (primary key (id)) inherits (parent);"
        "create table another (primary key (id)) inherits (child)",
    )
    source_db.execute(
        "insert into child select n, 'c' from generate_series(1, 20) n; insert into another values (50, 'a');"
        "create publication pub for table only child, only another"
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        # The parent is copied when its children have rows on the target.
        source_db.execute("insert into parent values (100, 'p'); alter publication pub add table only parent")
        migration.engine.refresh_publication()
        wait_until(lambda: len(migration.snapshot.tables) == 3)
        migration.wait_ready()
        source_db.execute(
            "update parent set v = v || '!'; delete from only parent; delete from parent where id = 3"
        )
        migration.wait_applied()
        migration.assert_equal("parent", "child", "another")
        assert target_db.query("select count(*) from only child") == [(19,)]


def test_a_table_without_published_columns(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table bare (); create table computed (id int generated always as (7) stored)",
    )
    rows = "insert into bare default values; insert into computed default values;"
    source_db.execute(rows * 3 + "create publication pub for table bare, computed")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        migration.assert_equal("bare", "computed")
        source_db.execute(rows * 2)
        migration.wait_applied()
        migration.assert_equal("bare", "computed")
    assert target_db.query("select count(*), sum(id) from computed") == [(5, 35)]


def test_a_partitioned_source_lands_in_a_plain_table(source_db: Database, target_db: Database) -> None:
    source_db.execute(PARTITIONED)
    target_db.execute("create schema flat; create table flat.all_events (at date, id int, note text)")
    source_db.execute("insert into event values ('2024-05-05', 1, 'a'), ('2025-05-05', 2, 'b')")
    source_db.execute("create publication pub for table event with (publish_via_partition_root)")
    table_map = (
        '{"source": {"schema": "public", "table": "event"}, '
        '"target": {"schema": "flat", "table": "all_events"}}'
    )
    with Migration(source_db, target_db, table_map=(table_map,)) as migration:
        migration.wait_ready()
        source_db.execute("insert into event values ('2025-01-01', 1, 'c')")
        source_db.execute("update event set note = 'B' where id = 2")
        migration.wait_applied()
        migration.assert_equal("event", target_table="flat.all_events")


def test_hostile_names(source_db: Database, target_db: Database) -> None:
    long_name = "x" * 60 + "äé"[:1]
    ddl = f'''
        create schema "Sales [Dept]"; create schema "select";
        create table "Sales [Dept]"."Order ""Notes""" ("Id%s" int primary key, "$1" text, "sel;ect" text);
        create table "select"."table" ("from" int primary key, "where" text);
        create table public."{long_name}" ("日本" int primary key, "b[/]c" text);
    '''
    both(source_db, target_db, ddl)
    source_db.execute(
        f'create publication pub for table "Sales [Dept]"."Order ""Notes""", "select"."table", "{long_name}"'
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        for table in ('"Sales [Dept]"."Order ""Notes"""', '"select"."table"', f'"{long_name}"'):
            source_db.execute(f"insert into {table} values (1), (2), (3)")
        source_db.execute('update "Sales [Dept]"."Order ""Notes""" set "$1" = \'%s $2 {}\' where "Id%s" = 1')
        source_db.execute('delete from "select"."table" where "from" = 2')
        source_db.execute(f'update "{long_name}" set "日本" = 9 where "日本" = 3')
        migration.wait_applied()
        for table in ('Sales [Dept].Order "Notes"', "select.table", long_name):
            migration.assert_equal(table)


def test_savepoints_and_rolled_back_work(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table item (id int primary key)")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "begin; insert into item values (1); savepoint a; insert into item values (2);"
            "rollback to a; insert into item values (3); savepoint b; insert into item values (4);"
            "release b; commit"
        )
        source_db.execute("begin; insert into item values (100); rollback")
        migration.wait_applied()
        assert rows_of(target_db, "item") == ["(1)", "(3)", "(4)"]


def test_several_publications_and_a_refresh(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table a (id int primary key); create table b (id int primary key);"
        "create table c (id int primary key)",
    )
    for table in "abc":
        source_db.execute(f"insert into {table} select generate_series(1, 10)")
    source_db.execute("create publication pub for table a; create publication pub2 for table b")
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute("alter publication pub2 add table c; alter publication pub drop table a")
        migration.engine.refresh_publication()
        wait_until(
            lambda: [table.source_name for table in migration.snapshot.tables] == ["public.b", "public.c"],
            describe=lambda: migration.snapshot.tables,
        )
        migration.wait_ready()
        source_db.execute("insert into a values (11); insert into b values (11); insert into c values (11)")
        migration.wait_applied()
        migration.assert_equal("b", "c")
        assert len(rows_of(target_db, "a")) == 10


def test_without_copying_only_changes_arrive(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item values (1, 1), (2, 2)")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db, copy_data=False) as migration:
        migration.wait_ready()
        source_db.execute("insert into item values (3, 3); update item set n = 9 where id = 1")
        source_db.execute("update item set n = 4 where id = 3")
        migration.wait_applied()
        assert rows_of(target_db, "item") == ["(3,4)"]


def test_a_failing_table_is_set_aside_and_the_others_go_on(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table good (id int primary key)")
    source_db.execute("create table bad (id int primary key, n int)")
    target_db.execute("create table bad (id int primary key, n int check (n < 10))")
    source_db.execute("insert into bad values (1, 1)")
    source_db.execute("create publication pub for table good, bad")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("begin; insert into good values (1); insert into bad values (2, 11); commit")
        error = migration.wait_set_aside("public.bad")
        assert "bad_n_check" in error
        assert "SQLSTATE 23514" in error
        source_db.execute("insert into good values (2); insert into bad values (3, 3)")
        migration.wait_applied()
        migration.assert_equal("good")
        assert rows_of(target_db, "bad") == ["(1,1)"]
        assert not migration.snapshot.all_tables_synchronized
        target_db.execute("alter table bad drop constraint bad_n_check")
        bad = next(table for table in migration.snapshot.tables if table.source_name == "public.bad")
        migration.engine.retry(bad.source_oid)
        wait_until(
            lambda: (
                migration.snapshot.count(TableState.READY) == 2 and not migration.snapshot.tables_set_aside
            ),
            describe=lambda: migration.snapshot.tables,
        )
        source_db.execute("update bad set n = 100 where id = 3")
        migration.wait_applied()
        migration.assert_equal("good", "bad")


def test_rows_already_on_the_target_are_not_copied_over(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table item (id int primary key)")
    source_db.execute("insert into item values (1)")
    target_db.execute("insert into item values (2)")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        assert "already holds rows" in migration.wait_set_aside("public.item")
    assert rows_of(target_db, "item") == ["(2)"]
    assert source_db.query("select count(*) from pg_replication_slots where slot_name like '%%sync'") == [
        (0,)
    ]


def test_a_row_missing_on_the_target_stops_its_table(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item values (1, 1), (2, 2)")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("delete from item where id = 1")
        source_db.execute("update item set n = 5 where id = 1")
        assert "found no row on the target" in migration.wait_set_aside("public.item")
