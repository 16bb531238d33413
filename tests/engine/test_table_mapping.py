"""Rows land where --table-map sends them, also when several source tables land in one."""

from __future__ import annotations

import json

import pytest

from engine.snapshot import TableState
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.waiting import wait_until


@pytest.fixture(autouse=True, params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a change."""
    changes = 0 if request.param == "batched" else 1_000_000
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", changes)
    return str(request.param)


def to(source_schema: str, source_table: str | None, target_schema: str, target_table: str | None) -> str:
    """One value of ``--table-map``."""
    source = {"schema": source_schema, "table": source_table}
    target = {"schema": target_schema, "table": target_table}
    return json.dumps(
        {
            "source": {key: value for key, value in source.items() if value is not None},
            "target": {key: value for key, value in target.items() if value is not None},
        }
    )


def test_a_renamed_table_with_its_columns_in_another_order(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table item (id int primary key, name text, price numeric(8,2), note text)")
    target_db.execute(
        "create schema shop; create table shop.article"
        " (note text, extra int default 7, price numeric(8,2), name text, id int primary key);"
        # The name that was mapped away is another table there; it must be left alone.
        "create table item (only_here int); insert into item values (1)"
    )
    source_db.execute("insert into item select n, 'n' || n, n / 4.0, null from generate_series(1, 100) n")
    source_db.execute("create publication pub for table item")
    mapped = (to("public", "item", "shop", "article"),)
    with Migration(source_db, target_db, table_map=mapped) as migration:
        migration.wait_ready()
        source_db.execute("insert into item select n, 'n' || n, n, 'late' from generate_series(101, 150) n")
        source_db.execute("update item set price = price * 2, note = 'dear' where id % 3 = 0")
        source_db.execute("update item set id = id + 1000 where id % 10 = 0")
        source_db.execute("delete from item where id % 7 = 0")
        migration.wait_applied()
        landed = target_db.query("select id, name, price, note, extra from shop.article order by id")
        assert landed == [
            (*row, 7) for row in source_db.query("select id, name, price, note from item order by id")
        ]
        source_db.execute("begin; truncate item; insert into item values (1, 'first', 1, null); commit")
        migration.wait_applied()
        assert target_db.query("select id, name from shop.article") == [(1, "first")]
        assert target_db.query("select only_here from item") == [(1,)]


def test_a_map_of_a_whole_schema_takes_every_table_and_keeps_their_names(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute("create schema old; create table old.a (id int primary key); create table b (id int)")
    source_db.execute("create table old.b (id int primary key)")
    target_db.execute("create schema new; create table new.a (id int primary key); create table b (id int)")
    target_db.execute("create table new.b (id int primary key)")
    source_db.execute("insert into old.a values (1); insert into old.b values (2); insert into b values (3)")
    source_db.execute("create publication pub for table old.a, old.b, b with (publish = 'insert, truncate')")
    with Migration(source_db, target_db, table_map=(to("old", None, "new", None),)) as migration:
        migration.wait_ready()
        source_db.execute("insert into old.a values (11); insert into old.b values (12)")
        source_db.execute("insert into b values (13)")
        migration.wait_applied()
        migration.assert_equal("old.a", target_table="new.a")
        migration.assert_equal("old.b", target_table="new.b")
        migration.assert_equal("b")
        assert len(rows_of(target_db, "b")) == 2


def test_the_first_map_that_matches_the_whole_name_decides(source_db: Database, target_db: Database) -> None:
    names = ("log_2024", "log_2025", "log_old", "my_log_2024", "other")
    for name in names:
        source_db.execute(f"create table {name} (id int primary key); insert into {name} values (1)")
    target_db.execute(
        "create schema logs; create table logs.this_year (id int primary key);"
        "create table logs.log_2024 (id int primary key); create table logs.log_old (id int primary key);"
        "create table my_log_2024 (id int primary key); create table other (id int primary key)"
    )
    source_db.execute(f"create publication pub for table {', '.join(names)}")
    maps = (to("public", "log_2025", "logs", "this_year"), to("public", r"log_\w+", "logs", None))
    with Migration(source_db, target_db, table_map=maps) as migration:
        migration.wait_ready()
        for name in names:
            source_db.execute(f"insert into {name} values (2); update {name} set id = 3 where id = 1")
        migration.wait_applied()
        landed = ("logs.log_2024", "logs.this_year", "logs.log_old", "my_log_2024", "other")
        for target in landed:
            assert rows_of(target_db, target) == ["(2)", "(3)"], target


REGION = "create table {} (region text, id int, n int, primary key (region, id))"


def sharing(source: Database, target: Database) -> tuple[str, ...]:
    """Three source tables for one target table; the maps."""
    for name in ("sale_eu", "sale_us", "sale_asia"):
        source.execute(REGION.format(name))
        source.execute(f"insert into {name} select '{name}', n, n from generate_series(1, 50) n")
    source.execute("create publication pub for table sale_eu, sale_us, sale_asia")
    target.execute(REGION.format("sale"))
    return (to("public", "sale_.*", "public", "sale"),)


ALL_SALES = "select * from sale_eu union all select * from sale_us union all select * from sale_asia"


def assert_shared(source: Database, target: Database) -> None:
    assert sorted(target.query("select * from sale")) == sorted(source.query(ALL_SALES))


def test_many_tables_land_in_one_with_their_changes(source_db: Database, target_db: Database) -> None:
    maps = sharing(source_db, target_db)
    with Migration(source_db, target_db, table_map=maps) as migration:
        migration.wait_ready()
        assert len(rows_of(target_db, "sale")) == 150
        source_db.execute(
            "begin; insert into sale_eu values ('sale_eu', 51, 0); update sale_us set n = -n where id < 9;"
            "delete from sale_asia where id % 2 = 0; update sale_eu set id = id + 100 where id < 5; commit"
        )
        source_db.execute("delete from sale_us where id > 40; insert into sale_us values ('sale_us', 60, 60)")
        migration.wait_applied()
        assert_shared(source_db, target_db)


def test_truncate_of_one_of_many_tables_leaves_the_others_rows(
    source_db: Database, target_db: Database
) -> None:
    maps = sharing(source_db, target_db)
    with Migration(source_db, target_db, table_map=maps) as migration:
        migration.wait_ready()
        source_db.execute("begin; insert into sale_us values ('sale_us', 51, 51); truncate sale_eu; commit")
        error = migration.wait_set_aside("public.sale_eu")
        assert "public.sale_eu was truncated on the source" in error
        assert "public.sale on the target holds rows of other source tables" in error
        source_db.execute("insert into sale_asia values ('sale_asia', 51, 51)")
        migration.wait_applied()
        kept = "select region, count(*)::int from sale group by region order by region"
        assert target_db.query(kept) == [("sale_asia", 51), ("sale_eu", 50), ("sale_us", 51)]
        # A retry alone must not replace the whole shared table by one table's rows either.
        oid = next(t.source_oid for t in migration.snapshot.tables if t.source_name == "public.sale_eu")
        migration.engine.retry(oid)
        wait_until(
            lambda: any("Trying public.sale_eu again" in e.text for e in migration.engine.events(0)),
            describe=lambda: migration.engine.events(0),
        )
        assert "holds rows of several source tables" in migration.wait_set_aside("public.sale_eu")
        assert target_db.query(kept) == [("sale_asia", 51), ("sale_eu", 50), ("sale_us", 51)]
        # The way out that the hint tells.
        source_db.execute("alter publication pub drop table sale_eu")
        migration.engine.refresh_publication()
        wait_until(lambda: len(migration.snapshot.tables) == 2, describe=lambda: migration.snapshot.tables)
        target_db.execute("delete from sale where region = 'sale_eu'")
        source_db.execute("insert into sale_eu values ('sale_eu', 1, 1)")
        source_db.execute("alter publication pub add table sale_eu")
        migration.engine.refresh_publication()
        wait_until(
            lambda: migration.snapshot.count(TableState.READY) == 3,
            describe=lambda: migration.snapshot.tables,
        )
        source_db.execute("insert into sale_eu values ('sale_eu', 2, 2)")
        migration.wait_applied()
        assert_shared(source_db, target_db)


def test_truncate_of_all_tables_that_share_a_target_empties_it(
    source_db: Database, target_db: Database
) -> None:
    maps = sharing(source_db, target_db)
    with Migration(source_db, target_db, table_map=maps) as migration:
        migration.wait_ready()
        source_db.execute(
            "begin; truncate sale_eu, sale_us, sale_asia; insert into sale_us values ('sale_us', 1, 2);commit"
        )
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        assert target_db.query("select * from sale") == [("sale_us", 1, 2)]
