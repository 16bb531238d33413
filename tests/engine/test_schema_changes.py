"""DDL on the source while the engine runs: a table that still fits goes on, any other is set aside alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.snapshot import TableState
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until


@pytest.fixture(autouse=True, params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a change."""
    changes = 0 if request.param == "batched" else 1_000_000
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", changes)
    return str(request.param)


@contextmanager
def replicated(source: Database, target: Database) -> Iterator[Migration]:
    """An ``item`` and an ``other`` table with rows, in r on both sides."""
    for database in (source, target):
        database.execute("create table item (id int primary key, name text, n int)")
        database.execute("create table other (id int primary key)")
    source.execute("insert into item select n, 'n' || n, n from generate_series(1, 20) n")
    source.execute("insert into other values (1); create publication pub for table item, other")
    with Migration(source, target) as migration:
        migration.wait_ready()
        # A statement for the old columns is prepared by now.
        source.execute("insert into item values (21, 'before', 21); update item set n = 0 where id = 1")
        migration.wait_applied()
        yield migration


def apply_hint(target: Database, error: str) -> list[str]:
    """Run the statements that an error's hint tells; what they were."""
    hint = re.search(r"Run on the target: (.*;) Then retry the table", error)
    assert hint is not None, error
    target.execute(hint.group(1))
    return hint.group(1).split(";")[:-1]


def retry(migration: Migration, name: str = "public.item") -> None:
    """Retry a table and wait until all are in r and none is set aside."""
    table = next(table for table in migration.snapshot.tables if table.source_name == name)
    migration.engine.retry(table.source_oid)
    wait_until(
        lambda: migration.snapshot.count(TableState.READY) == 2 and not migration.snapshot.tables_set_aside,
        describe=lambda: migration.snapshot.tables,
    )


def assert_goes_on(migration: Migration) -> None:
    """Everything written so far is there, and no table was set aside."""
    migration.wait_applied()
    assert not migration.snapshot.tables_set_aside
    migration.assert_equal("item", "other")


def assert_other_goes_on(migration: Migration, number: int) -> None:
    """The table that nothing happened to still replicates."""
    migration.source.execute(f"insert into other values ({number})")
    migration.wait_applied()
    migration.assert_equal("other")


def test_a_column_added_on_the_target_first_goes_on(source_db: Database, target_db: Database) -> None:
    with replicated(source_db, target_db) as migration:
        target_db.execute("alter table item add column note text default 'none'")
        source_db.execute("insert into item values (30, 'between', 1)")
        source_db.execute("alter table item add column note text default 'none'")
        source_db.execute("insert into item values (31, 'after', 1, 'written'), (32, 'after', 1, default)")
        source_db.execute("update item set note = 'changed' where id < 4; delete from item where id = 5")
        assert_goes_on(migration)


def test_a_column_added_on_the_source_only_names_the_statement_and_goes_on_after_it(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute(
            "create type mood as enum ('ok', 'bad'); create domain short as varchar(7);"
            'alter table item add column price numeric(9,2), add column "At %s" timestamptz(3)[],'
            " add column s varchar(5) default 'five'"
        )
        source_db.execute(
            "insert into other values (2); insert into item values (31, 'x', 1, 9.5, null, 'a')"
        )
        error = migration.wait_set_aside("public.item")
        assert 'has no column price, "At %s", s' in error
        assert_other_goes_on(migration, 3)
        assert apply_hint(target_db, error) == [
            'alter table "public"."item" add column "price" numeric(9,2)',
            ' alter table "public"."item" add column "At %s" timestamp(3) with time zone[]',
            ' alter table "public"."item" add column "s" character varying(5)',
        ]
        retry(migration)
        source_db.execute("update item set price = id, s = null where id < 4")
        assert_goes_on(migration)


def test_a_dropped_column_goes_on_where_the_target_can_do_without(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute("alter table item drop column n")
        source_db.execute("insert into item values (31, 'without'); update item set name = 'x' where id = 2")
        source_db.execute("delete from item where id = 3")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        same = "select id, name from item order by id"
        assert target_db.query(same) == source_db.query(same)
        assert target_db.query("select n from item where id = 31") == [(None,)]
        assert target_db.query("select n from item where id = 2") == [(2,)]


def test_a_dropped_column_that_the_target_requires_names_the_statement(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        target_db.execute("alter table item alter n set not null")
        source_db.execute("alter table item drop column n")
        source_db.execute("update item set name = 'still fits' where id = 4")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        source_db.execute("insert into item values (31, 'without')")
        error = migration.wait_set_aside("public.item")
        assert_other_goes_on(migration, 2)
        assert apply_hint(target_db, error) == ['alter table "public"."item" alter column "n" drop not null']
        retry(migration)
        source_db.execute("insert into item values (32, 'without')")
        migration.wait_applied()
        same = "select id, name from item order by id"
        assert target_db.query(same) == source_db.query(same)


def test_a_renamed_column_names_the_statement(source_db: Database, target_db: Database) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute('alter table item rename column name to "Full Name"')
        source_db.execute("insert into item values (31, 'x', 1)")
        error = migration.wait_set_aside("public.item")
        assert_other_goes_on(migration, 2)
        assert apply_hint(target_db, error) == [
            'alter table "public"."item" rename column "name" to "Full Name"'
        ]
        retry(migration)
        source_db.execute("""update item set "Full Name" = 'y' where id < 4""")
        assert_goes_on(migration)


def test_a_column_dropped_and_added_again_under_its_name_goes_on(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute(
            "begin; alter table item drop column n; insert into item values (31, 'in between');"
            "alter table item add column n int; insert into item values (32, 'x', 5);"
            "update item set n = id; commit"
        )
        assert_goes_on(migration)


def test_a_wider_type_goes_on_where_the_target_was_widened_first(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        target_db.execute("alter table item alter n type bigint, alter id type bigint")
        source_db.execute("insert into item values (30, 'between', 1)")
        source_db.execute("alter table item alter n type bigint, alter id type bigint")
        source_db.execute("insert into item values (31000000000, 'after', 5000000000)")
        source_db.execute("update item set n = id * 10 where id > 19; delete from item where id = 30")
        assert_goes_on(migration)


@pytest.mark.parametrize(
    ("new_type", "value"),
    [
        ("bigint", "5000000000"),
        ("numeric(12,3)", "0.125"),
        ("text", "'words'"),
        ("uuid", "gen_random_uuid()"),
    ],
)
def test_a_type_that_the_target_cannot_hold_names_the_statement(
    new_type: str, value: str, source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        using = "using gen_random_uuid()" if new_type == "uuid" else ""
        source_db.execute(f"alter table item alter n type {new_type} {using}")
        source_db.execute(f"insert into item values (31, 'x', {value})")
        error = migration.wait_set_aside("public.item")
        assert "SQLSTATE 22" in error
        assert_other_goes_on(migration, 2)
        if new_type == "uuid":
            # PostgreSQL has no cast; the rows are copied again anyway.
            assert f'alter column "n" type {new_type};' in error
            target_db.execute("truncate item; alter table item drop n; alter table item add n uuid")
        else:
            assert apply_hint(target_db, error) == [
                f'alter table "public"."item" alter column "n" type {new_type}'
            ]
        retry(migration)
        source_db.execute("update item set name = 'y' where id = 31")
        assert_goes_on(migration)


def test_a_table_renamed_on_the_source_goes_on_into_its_target(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute("alter table item rename to article")
        source_db.execute("insert into article values (31, 'x', 1); update article set n = 9 where id = 1")
        migration.wait_applied()
        # It does so after looking at the publications again, and after a new start.
        migration.engine.refresh_publication()
        wait_until(
            lambda: any(table.source_name == "public.article" for table in migration.snapshot.tables),
            describe=lambda: migration.snapshot.tables,
        )
        source_db.execute("insert into article values (32, 'x', 1)")
        migration.wait_applied()
        for number in (33, 34):
            migration.restart()
            migration.wait_ready()
            source_db.execute(f"insert into article values ({number}, 'x', 1)")
            migration.wait_applied()
        migration.assert_equal("other")
        rows = "select * from {} order by id"
        assert target_db.query(rows.format("item")) == source_db.query(rows.format("article"))


def test_two_tables_that_swap_their_names_keep_their_targets(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute(
            "begin; alter table item rename to passing; alter table other rename to item;"
            "alter table passing rename to other; commit"
        )
        source_db.execute("insert into other values (31, 'x', 1); insert into item values (50)")
        migration.wait_applied()
        migration.restart()
        migration.wait_ready()
        source_db.execute("insert into other values (32, 'x', 1); insert into item values (51)")
        migration.wait_applied()
        migration.assert_equal("other", target_table="item")
        migration.assert_equal("item", target_table="other")


def test_a_table_renamed_on_both_sides_is_followed_after_a_refresh_and_a_retry(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        source_db.execute("alter table item rename to article")
        target_db.execute("alter table item rename to article")
        source_db.execute("insert into article values (31, 'x', 1)")
        migration.wait_set_aside("public.item")
        assert_other_goes_on(migration, 2)
        migration.engine.refresh_publication()
        wait_until(
            lambda: any(table.target_name == "public.article" for table in migration.snapshot.tables),
            describe=lambda: migration.snapshot.tables,
        )
        retry(migration, "public.article")
        source_db.execute("update article set n = 9 where id = 31")
        migration.wait_applied()
        migration.assert_equal("article", "other")


def test_a_schema_renamed_on_the_source_goes_on_into_its_target(
    source_db: Database, target_db: Database
) -> None:
    for database in (source_db, target_db):
        database.execute("create schema shop; create table shop.item (id int primary key)")
    source_db.execute("create publication pub for table shop.item; insert into shop.item values (1)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("insert into shop.item values (2); alter schema shop rename to store")
        source_db.execute("insert into store.item values (3); delete from store.item where id = 1")
        migration.wait_applied()
        migration.restart()
        migration.wait_ready()
        source_db.execute("insert into store.item values (4)")
        migration.wait_applied()
        migration.assert_equal("store.item", target_table="shop.item")


def test_a_column_added_while_the_table_waits_for_its_slot_is_copied(
    source_db: Database, target_db: Database
) -> None:
    with replicated(source_db, target_db) as migration:
        for database in (source_db, target_db):
            database.execute("create table late (id int primary key)")
        with source_db.connect(autocommit=False) as blocker:
            blocker.execute("create table passing (id int)")
            source_db.execute("insert into late values (1); alter publication pub add table late")
            migration.engine.refresh_publication()
            wait_until(
                lambda: any("waiting for a transaction" in t.activity for t in migration.snapshot.tables),
                describe=lambda: migration.snapshot.tables,
            )
            target_db.execute("alter table late add column note text")
            source_db.execute("alter table late add column note text default 'given'")
            blocker.rollback()
        wait_until(lambda: migration.snapshot.count(TableState.READY) == 3)
        source_db.execute("insert into late values (2)")
        assert_goes_on(migration)
        migration.assert_equal("late")
        assert target_db.query("select note from late") == [("given",), ("given",)]
