"""One table with different columns in two publications: the source would not send it, so it is refused."""

from __future__ import annotations

import re

import pytest

from engine.errors import BlockedError
from engine.replication.refresh import refresh_publication
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.engine.test_publications import both, names, refresh
from tests.waiting import wait_until


def events(migration: Migration) -> str:
    return "\n".join(event.text for event in migration.engine.events(0))


DISAGREEING = """
create table "Odd item" (id int primary key, a text, b text); create table other (id int primary key);
"""
ODD = '"Odd item"'


@pytest.mark.parametrize(
    ("one", "another"),
    [("", "(id, a)"), ("(id, a)", ""), ("(id, a)", "(b, id)")],
)
def test_a_table_with_different_columns_in_two_publications_is_refused_at_the_start(
    one: str, another: str, source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, DISAGREEING)
    source_db.execute(
        f"create publication pub for table other, {ODD} {one};"
        f"create publication pub2 for table {ODD} {another}"
    )
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        assert migration.engine.join(30)
        assert isinstance(migration.engine.error, BlockedError)
        failure = migration.engine.error.failure
        assert "pub and pub2 publish different columns of the table public." + ODD in failure.title
        assert f"alter publication pub2 drop table public.{ODD};" in failure.hint
        assert target_db.query("select to_regclass('_ts_live_sync.subscription')") == [(None,)]
        source_db.execute(re.search("alter publication .*;", failure.hint)[0])  # type: ignore[index]
        migration.restart()
        migration.wait_ready()


@pytest.mark.parametrize("columns", ["", "(a, b, id)"])
def test_the_same_columns_listed_in_another_way_are_no_reason_to_refuse(
    columns: str, source_db: Database, target_db: Database
) -> None:
    ddl = "create table item (id int primary key, a text, b text, c int generated always as (id) stored)"
    both(source_db, target_db, f"{ddl}; alter table item drop column b, add column b text")
    source_db.execute("insert into item values (1, 'a', default, 'b')")
    source_db.execute(
        f"create publication pub for table item (b, id, a); create publication pub2 for table item {columns}"
    )
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute("insert into item values (2, 'a', default, 'b')")
        migration.wait_applied()
        migration.assert_equal("item")


def test_a_refresh_is_refused_while_publications_disagree_about_columns(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, DISAGREEING)
    source_db.execute(f"insert into {ODD} values (1, 'a', 'b')")
    source_db.execute("create publication pub for table other; create publication pub2 for table other")
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute(f"alter publication pub add table {ODD}")
        source_db.execute(f"alter publication pub2 set table {ODD} (id, a)")
        migration.engine.refresh_publication()
        wait_until(
            lambda: "Publication not refreshed" in events(migration), describe=lambda: events(migration)
        )
        assert "publish different columns of the table public." + ODD in events(migration)
        with pytest.raises(BlockedError, match="publish different columns"):
            refresh_publication(
                migration.config.source, migration.config.target, "test", None, timeout_seconds=30
            )
        # The tables of before go on, also the one that only one of the publications still has.
        assert names(migration) == ["public.other"]
        source_db.execute("alter publication pub2 set table other")
        source_db.execute("insert into other values (1)")
        migration.wait_applied()
        refresh(migration, "public.other", "public." + ODD)
        source_db.execute(f"insert into {ODD} values (2, 'a', 'b')")
        migration.wait_applied()
        migration.assert_equal("other", "Odd item")


def test_publications_that_come_to_disagree_end_the_engine_until_one_of_them_is_left_out(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, DISAGREEING)
    source_db.execute(
        f"create publication pub for table other, {ODD}; create publication pub2 for table other"
    )
    with Migration(source_db, target_db, publications=("pub", "pub2")) as migration:
        migration.wait_ready()
        source_db.execute(f"alter publication pub2 add table {ODD} (id, a)")
        source_db.execute(f"insert into {ODD} values (1, 'a', 'b'); insert into other values (1)")
        # The source looks at its publications as they were when a row was written.
        source_db.execute(f"alter publication pub2 drop table {ODD}")
        source_db.execute(f"insert into {ODD} values (2, 'a', 'b'); insert into other values (2)")
        assert migration.engine.join(30)
        assert migration.engine.error is not None
        assert "run with one --publication" in migration.engine.error.failure.hint
    with Migration(source_db, target_db, publications=("pub",)) as migration:
        migration.wait_ready()
        migration.wait_applied()
        migration.assert_equal("other", "Odd item")
        assert len(rows_of(target_db, "other")) == 2
