"""A table that cannot be copied says what to run; a retry copies it again and leaves all others alone."""

from __future__ import annotations

import json

import pytest

from engine.snapshot import TableState
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.engine.test_schema_changes import apply_hint
from tests.waiting import wait_until


def prepare(source: Database, target: Database) -> None:
    """Three tables on both sides; the first two are published."""
    for database in (source, target):
        for name in ("item", "other", "late"):
            database.execute(f"create table {name} (id int primary key, name text)")
    for name in ("item", "other", "late"):
        source.execute(f"insert into {name} select n, 'n' || n from generate_series(1, 50) n")
    source.execute("create publication pub for table item, other")


def retry(migration: Migration, name: str) -> None:
    """Retry one table and wait until every table is in r and none is set aside."""
    table = next(table for table in migration.snapshot.tables if table.source_name == name)
    migration.engine.retry(table.source_oid)
    wait_until(
        lambda: (
            not migration.snapshot.tables_set_aside
            and migration.snapshot.count(TableState.READY) == len(migration.snapshot.tables)
        ),
        describe=lambda: migration.snapshot.tables,
    )


def add_late(migration: Migration) -> str:
    """Publish the third table while the engine runs; the error it is set aside with."""
    migration.source.execute("alter publication pub add table late")
    migration.engine.refresh_publication()
    wait_until(lambda: len(migration.snapshot.tables) == 3, describe=lambda: migration.snapshot.tables)
    return migration.wait_set_aside("public.late")


def test_a_retry_copies_one_table_again_and_touches_no_other(
    source_db: Database, target_db: Database
) -> None:
    prepare(source_db, target_db)
    recorded = (
        "select tablename, state, lsn, rows_copied, updated_at from _ts_live_sync.subscription_rel"
        " where tablename = 'other'"
    )
    # A row that was written again is another version at another place.
    versions = "select ctid::text, xmin::text, * from other order by id"
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("alter table item add constraint small check (id < 100)")
        source_db.execute("insert into item values (100, 'large'); insert into other values (51, 'more')")
        assert "small" in migration.wait_set_aside("public.item")
        migration.wait_applied()
        before = (target_db.query(recorded), target_db.query(versions))
        assert len(before[1]) == 51
        copied = [event.text for event in migration.engine.events(0) if event.text.startswith("Copied")]
        target_db.execute("alter table item drop constraint small")
        # Between: what happens to a table set aside is in its next copy.
        source_db.execute("delete from item where id = 7; update item set name = 'changed' where id < 5")
        retry(migration, "public.item")
        migration.wait_applied()
        assert (target_db.query(recorded), target_db.query(versions)) == before
        again = [event.text for event in migration.engine.events(0) if event.text.startswith("Copied")]
        assert again == [*copied, "Copied public.item: 50 rows"]
        source_db.execute("insert into item values (101, 'x'); insert into other values (52, 'x')")
        migration.wait_applied()
        migration.assert_equal("item", "other")


def test_a_retry_of_a_table_that_is_well_does_nothing(source_db: Database, target_db: Database) -> None:
    prepare(source_db, target_db)
    versions = "select ctid::text, xmin::text, * from item order by id"
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        before = target_db.query(versions)
        table = next(table for table in migration.snapshot.tables if table.source_name == "public.item")
        migration.engine.retry(table.source_oid)
        migration.engine.refresh_publication()  # Obeyed after it.
        wait_until(lambda: any("refreshed" in event.text for event in migration.engine.events(0)))
        migration.wait_ready()
        assert target_db.query(versions) == before


def test_a_table_whose_target_lacks_a_column_tells_the_statement_when_it_is_to_be_copied(
    source_db: Database, target_db: Database
) -> None:
    prepare(source_db, target_db)
    target_db.execute("alter table late drop column name")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        error = add_late(migration)
        assert "has no column name" in error
        assert apply_hint(target_db, error) == ['alter table "public"."late" add column "name" text']
        retry(migration, "public.late")
        migration.assert_equal("item", "other", "late")


@pytest.mark.parametrize("how", ["late", "mapped"])
def test_a_table_that_the_target_lacks_tells_to_restore_its_schema(
    how: str, source_db: Database, target_db: Database
) -> None:
    prepare(source_db, target_db)
    source_table, target_table = ({"schema": "public", "table": name} for name in ("late", how))
    table_map = (json.dumps({"source": source_table, "target": target_table}),)
    target_db.execute("drop table late")
    with Migration(source_db, target_db, table_map=table_map) as migration:
        migration.wait_ready()
        error = add_late(migration)
        assert f"Table public.{how} does not exist on the target (needed for public.late)" in error
        assert "Restore the schema of this table on the target" in error
        target_db.execute(f"create table {how} (id int primary key, name text)")
        retry(migration, "public.late")
        migration.assert_equal("item", "other")
        migration.assert_equal("late", target_table=how)
