"""The table list says what is there, and whose updates could not be published."""

from __future__ import annotations

import time

import pytest

from engine.catalog.table import ReplicaIdentity, SourceTable, TableKind, TableName
from engine.catalog.tables import list_tables, missing_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import Side
from livesync_tui.demo.dataset import create_demo, row_counts
from tests.conftest import Database


def session_of(database: Database, side: Side = Side.SOURCE) -> Session:
    return open_session(parse_endpoint(side, database.conninfo), "test")


def tables_of(database: Database) -> dict[str, SourceTable]:
    with session_of(database) as session:
        return {str(table.name): table for table in list_tables(session)}


def test_the_demo_is_listed_with_its_partitions_under_their_root(source_db: Database) -> None:
    create_demo(source_db.conninfo, 5000)
    source_db.execute("analyze")
    tables = tables_of(source_db)
    counts = row_counts(5000)
    assert list(tables) == sorted(tables, key=lambda name: tables[name].name)
    assert not [name for name in tables if name.startswith("shop.events_")]
    events = tables["shop.events"]
    assert events.kind is TableKind.PARTITIONED
    assert events.approximate_rows == counts["events"]
    assert events.size_bytes > 8192
    assert events.can_replicate_updates
    notes = tables['"Sales Dept"."Order Notes"']
    assert notes.approximate_rows == counts["order_notes"]
    assert not tables["shop.audit_log"].can_replicate_updates
    assert all(table.problem is None for table in tables.values())


def test_only_somebodys_own_tables_are_listed(target_db: Database) -> None:
    target_db.execute(
        """
        create schema _ts_live_sync; create table _ts_live_sync.state (a int);
        create schema _timescaledb_internal; create table _timescaledb_internal.chunk (a int);
        create schema timescaledb_information; create table timescaledb_information.t (a int);
        create table owned (a int); alter extension plpgsql add table owned;
        create view a_view as select 1; create materialized view matview as select 1 as a;
        create table "we""ird %s {} \\\\ [x]" (a int primary key);
        create table pg (a int primary key);
        """
    )
    with target_db.connect() as connection:
        connection.execute("create temporary table passing (a int)")
        tables = tables_of(target_db)
    target_db.execute("alter extension plpgsql drop table owned")
    assert set(tables) == {r'public."we""ird %s {} \\ [x]"', "public.pg"}


@pytest.mark.parametrize(
    ("columns_and_index", "usable"),
    [
        ("a int not null, b int; create unique index i on t (a)", "i"),
        ("a int not null, b int not null; create unique index i on t (b) include (a)", "i"),
        ("a int, b int; create unique index i on t (a)", None),
        ("a int not null, b int; create unique index i on t (a) where b > 0", None),
        ("a int not null, b int; create unique index i on t ((a + 1))", None),
        ("a int not null, b int; create index i on t (a)", None),
        ("a int not null, b int; alter table t add constraint i unique (a) deferrable", None),
        ("a int primary key, b int", None),
        (
            "a int not null, b int not null generated always as (a) stored; create unique index i on t (b)",
            None,
        ),
        (
            "a int not null, b int not null;"
            " create unique index v on t (a, b); create unique index n on t (b)",
            "n",
        ),
    ],
)
def test_an_index_is_usable_only_when_postgresql_takes_it(
    source_db: Database, columns_and_index: str, usable: str | None
) -> None:
    columns, _, index = columns_and_index.partition(";")
    source_db.execute(f"create table t ({columns}); {index}")
    table = tables_of(source_db)["public.t"]
    assert table.usable_index == usable
    if usable:
        source_db.execute(f"alter table t replica identity using index {usable}")
        assert tables_of(source_db)["public.t"].replica_identity is ReplicaIdentity.INDEX


@pytest.mark.parametrize(
    "definition",
    [
        "create table t (a int)",
        "create table t (a int primary key deferrable)",
        "create table t (a int primary key); alter table t replica identity nothing",
        "create table t (a int not null unique); alter table t replica identity using index t_a_key;"
        " alter table t drop constraint t_a_key",
        "create table t (a int) partition by list (a); create table l partition of t default",
        "create table t (a int primary key) partition by list (a); create table l partition of t default;"
        " alter table l replica identity nothing",
        "create table t (a int primary key) partition by list (a);"
        " create table m partition of t default partition by list (a);"
        " create table l partition of m default; alter table l replica identity nothing",
    ],
)
def test_a_table_that_would_refuse_updates_says_so(source_db: Database, definition: str) -> None:
    source_db.execute(f"{definition}; create publication p for table t; insert into t values (1)")
    with pytest.raises(Exception, match="does not have a replica identity"):
        source_db.execute("update t set a = 1")
    assert not tables_of(source_db)["public.t"].can_replicate_updates


def test_a_leaf_that_gives_less_than_its_root_promises_is_found(source_db: Database) -> None:
    source_db.execute(
        """
        create table t (a int primary key, b int not null) partition by list (a);
        create table l partition of t default;
        create unique index other on l (b);
        alter table l replica identity using index other;
        create table f (a int, b int) partition by list (a); alter table f replica identity full;
        create table fl partition of f default; alter table fl add primary key (a);
        """
    )
    tables = tables_of(source_db)
    assert not tables["public.t"].can_replicate_updates
    assert not tables["public.f"].can_replicate_updates


def test_what_cannot_be_published_has_a_problem(source_db: Database) -> None:
    source_db.execute(
        """
        create unlogged table fast (a int primary key);
        create table root (a int primary key) partition by list (a);
        create unlogged table leaf partition of root default;
        """
    )
    tables = tables_of(source_db)
    assert "unlogged" in (tables["public.fast"].problem or "")
    assert "public.leaf" in (tables["public.root"].problem or "")


def test_generated_columns_without_a_key_are_a_problem_from_postgresql_18_on(
    source_db: Database, target_db: Database
) -> None:
    statement = (
        "create table t (a int, b int generated always as (a) stored); insert into t values (1);"
        " create publication p for table t; alter table t replica identity full"
    )
    source_db.execute(statement)
    source_db.execute("update t set a = 2")
    assert tables_of(source_db)["public.t"].problem is None
    target_db.execute(statement)
    with pytest.raises(Exception, match="generated"):
        target_db.execute("update t set a = 2")
    assert "generated" in (tables_of(target_db)["public.t"].problem or "")


def test_a_thousand_tables_are_listed_at_once(source_db: Database) -> None:
    # Tables share locks and catalogs, so they are made in a few transactions.
    for part in range(2):
        source_db.execute(
            f"do $$ begin for n in 1..500 loop"
            f" execute format('create table t_{part}_%s (a int primary key)', n); end loop; end $$"
        )
    started = time.monotonic()
    assert len(tables_of(source_db)) == 1000
    assert time.monotonic() - started < 2


def test_tables_that_the_target_lacks_are_named(target_db: Database) -> None:
    target_db.execute('create table "A b" (a int); create view v as select 1')
    names = [TableName("public", "A b"), TableName("public", "a b"), TableName("public", "v")]
    with session_of(target_db, Side.TARGET) as session:
        assert missing_tables(session, names) == tuple(names[1:])
