"""Any name that PostgreSQL allows works for schemas, tables, columns, indexes and publications."""

from __future__ import annotations

import json
import re

import pytest
from psycopg import sql

from engine.errors import UsageError
from engine.replication.engine import Engine
from engine.snapshot import TableState
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until

NAMES = {
    "mixed case": "Order Items",
    "keyword": "select",
    "quotes": """it's "quoted" `so`""",
    "63 bytes": "x" * 63,
    "63 bytes of umlauts": "ä" * 31 + "z",
    "unicode": "注文🐘 ñ\u0301 שלום",
    "brackets": "[bold]{0} {x}<b>[/]",
    "percent": "%s %(a)s %% %",
    "dots": "public.item.id",
    "newline": "a\nb\tc\r",
    "backslash": r"C:\new\table \. \N",
    "dollar": "$1 $$ $body$",
    "comment": "a -- b /* c */; drop table x",
    "spaces": " lead and trail ",
    "comma": 'a,b,"c"',
    "number": "1",
    "star": "*",
}


_HARDEST = ("quotes", "63 bytes", "unicode", "percent", "newline", "backslash")
"""For what does not depend on the kind of name but on quoting it at all."""


def run(database: Database, statement: str, **names: str) -> None:
    """Run a statement with names in the place of its fields."""
    identifiers = {key: sql.Identifier(*value.split("\0")) for key, value in names.items()}
    database.execute(sql.SQL(statement).format(**identifiers))


def landed(database: Database, schema: str, table: str) -> list[tuple[object, ...]]:
    return database.query(sql.SQL("select * from {} order by 1").format(sql.Identifier(schema, table)))


def make(database: Database, name: str, identity: str) -> None:
    """A table with ``name`` for schema, table, column and, where one is asked for, its identity's index."""
    run(database, "create schema {name}", name=name)
    run(
        database,
        "create table {table} ({name} int not null, value text default 'd', {other} text)",
        table=f"{name}\0{name}",
        name=name,
        other=name[:-1] + "2",
    )
    # Indexes share the tables' namespace.
    index = name[:-1] + "i"
    if identity == "default":
        run(
            database,
            "alter table {table} add constraint {index} primary key ({name})",
            table=f"{name}\0{name}",
            index=index,
            name=name,
        )
        return
    if identity == "index":
        run(
            database,
            "create unique index {index} on {table} ({name})",
            table=f"{name}\0{name}",
            index=index,
            name=name,
        )
    run(
        database,
        "alter table {table} replica identity " + ("using index {index}" if identity == "index" else "full"),
        table=f"{name}\0{name}",
        index=index,
    )


def write(source: Database, name: str) -> None:
    """Some of every kind of change."""
    table = f"{name}\0{name}"
    run(source, "insert into {table} select n, 'v' || n from generate_series(100, 110) n", table=table)
    run(source, "update {table} set value = 'changed' where {name} < 5", table=table, name=name)
    run(source, "update {table} set {name} = {name} + 1000 where {name} = 7", table=table, name=name)
    run(source, "delete from {table} where {name} in (8, 105)", table=table, name=name)


@pytest.mark.parametrize(
    ("identity", "single_changes"),
    [("index", 0), ("full", 1_000_000)],
    ids=["index, batched", "full, one by one"],
)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_one_name_for_schema_table_column_index_and_publication(
    name: str,
    identity: str,
    single_changes: int,
    source_db: Database,
    target_db: Database,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", single_changes)
    for database in (source_db, target_db):
        make(database, name, identity)
    table = f"{name}\0{name}"
    run(source_db, "insert into {table} select n, 'v' || n, 'o' from generate_series(1, 20) n", table=table)
    run(source_db, "create publication {name} for table {table}", table=table, name=name)
    with Migration(source_db, target_db, publications=(name,)) as migration:
        migration.wait_ready()
        write(source_db, name)
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        assert landed(target_db, name, name) == landed(source_db, name, name)
        run(source_db, "truncate {table}", table=table)
        run(source_db, "insert into {table} values (1, 'only')", table=table)
        migration.wait_applied()
        assert landed(target_db, name, name) == [(1, "only", None)]


def test_several_publications_with_such_names_at_once(source_db: Database, target_db: Database) -> None:
    publications = tuple(NAMES.values())
    for number, name in enumerate(publications):
        for database in (source_db, target_db):
            database.execute(f"create table t{number} (id int primary key)")
        run(source_db, f"create publication {{name}} for table t{number}", name=name)
        source_db.execute(f"insert into t{number} values (1)")
    with Migration(source_db, target_db, publications=publications) as migration:
        migration.wait_ready()
        for number in range(len(publications)):
            source_db.execute(f"insert into t{number} values (2)")
        migration.wait_applied()
        migration.assert_equal(*(f"t{number}" for number in range(len(publications))))


@pytest.mark.parametrize("name", [NAMES[kind] for kind in _HARDEST], ids=_HARDEST)
def test_a_map_leads_to_and_from_such_names(name: str, source_db: Database, target_db: Database) -> None:
    make(source_db, name, "default")
    target_db.execute("create table plain (value text, id int)")
    run(target_db, "alter table plain rename column id to {name}", name=name)
    run(target_db, "alter table plain add column {name} text", name=name[:-1] + "2")
    run(source_db, "create publication pub for table {table}", table=f"{name}\0{name}")
    mapping = json.dumps(
        {
            "source": {"schema": name, "table": re.escape(name)},
            "target": {"schema": "public", "table": "plain"},
        }
    )
    with Migration(source_db, target_db, table_map=(mapping,)) as migration:
        migration.wait_ready()
        write(source_db, name)
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        assert len(landed(target_db, "public", "plain")) == 10


@pytest.mark.parametrize("name", [NAMES[kind] for kind in _HARDEST], ids=_HARDEST)
def test_the_statement_of_a_hint_can_be_run(name: str, source_db: Database, target_db: Database) -> None:
    for database in (source_db, target_db):
        make(database, name, "default")
    table = f"{name}\0{name}"
    run(source_db, "create publication pub for table {table}", table=table)
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        run(source_db, "alter table {table} add column {new} int", table=table, new=name[:-1] + "3")
        run(source_db, "insert into {table} values (1, 'x', 'y', 5)", table=table)
        wait_until(lambda: migration.snapshot.tables_set_aside, describe=lambda: migration.snapshot.tables)
        aside = migration.snapshot.tables_set_aside[0]
        hint = re.search(r"Run on the target: (.*;) Then retry", aside.last_error or "", re.DOTALL)
        assert hint is not None, aside.last_error
        with target_db.connect() as connection:
            connection.execute(hint.group(1).encode())
        migration.engine.retry(aside.source_oid)
        wait_until(
            lambda: (
                migration.snapshot.count(TableState.READY) == 1 and not migration.snapshot.tables_set_aside
            ),
            describe=lambda: migration.snapshot.tables,
        )
        assert landed(target_db, name, name) == [(1, "x", "y", 5)]


@pytest.mark.parametrize("subscription", ["a", "0", "_", "x" * 35, "test_1_syn", "1_sync_2"])
def test_subscription_names_up_to_the_limit_work(
    subscription: str, source_db: Database, target_db: Database
) -> None:
    for database in (source_db, target_db):
        database.execute("create table item (id int primary key)")
    source_db.execute("insert into item values (1); create publication pub for table item")
    with Migration(source_db, target_db, subscription=subscription) as migration:
        migration.wait_ready()
        source_db.execute("insert into item values (2)")
        migration.wait_applied()
        migration.assert_equal("item")
    slots = source_db.query("select slot_name from pg_replication_slots where database = current_database()")
    assert slots == [(f"live_sync_{subscription}",)]


@pytest.mark.parametrize("subscription", ["", "x" * 36, "Test", "a-b", "ä", "a b", "night_16384_sync", "a\n"])
def test_other_subscription_names_are_refused_before_anything_is_made(
    subscription: str, source_db: Database, target_db: Database
) -> None:
    source_db.execute("create table item (id int primary key); create publication pub for table item")
    target_db.execute("create table item (id int primary key)")
    engine: Engine = Migration(source_db, target_db, subscription=subscription).engine
    engine.start()
    assert engine.join(30)
    assert isinstance(engine.error, UsageError)
    assert "subscription name" in engine.error.failure.title
    assert target_db.query("select to_regnamespace('_ts_live_sync')") == [(None,)]
