"""Rows travel in binary where that is safe, in text everywhere else, and arrive either way."""

from __future__ import annotations

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.replication import copy_format
from engine.replication.copy import Copied, copy_rows
from engine.replication.publication import list_published_tables
from engine.replication.target_table import read_target_table
from tests.conftest import Database

ENUM = "create type mood as enum ('glad', 'sad');"


def copied(source: Database, target: Database) -> Copied:
    """Copy the one published table in a transaction."""
    with (
        open_session(parse_endpoint(Side.SOURCE, source.conninfo), "test") as reading,
        open_session(parse_endpoint(Side.TARGET, target.conninfo), "test") as writing,
    ):
        (table,) = list_published_tables(reading, ["pub"])
        with writing.transaction():
            return copy_rows(
                reading,
                writing,
                table,
                read_target_table(writing, table.name, table.name),
                on_progress=lambda rows, size_bytes: None,
                should_stop=lambda: False,
            )


def in_binary(source: Database, columns: str, target: Database) -> bool:
    """Whether the table ``item`` was copied in binary, from what was sent: text and binary differ in size."""
    found = copied(source, target)
    assert target.query("select item::text from item") == source.query("select item::text from item")
    ((rows, text_bytes),) = source.query(
        f"select count(*), sum(octet_length(concat_ws(E'\\t', {columns})) + 1) from item"
    )
    assert found.rows == rows
    return bool(found.size_bytes != text_bytes)


def test_the_oids_are_those_of_the_server(target_db: Database) -> None:
    assert target_db.query(
        "select oid::int8, typarray::int8 from pg_type where oid = any (%s::oid[]) order by oid",
        [[oid for oid, _ in copy_format._SAFE]],
    ) == sorted(copy_format._SAFE)
    assert target_db.query("select 'anyenum'::regtype::oid::int8") == [(copy_format.ANY_ENUM,)]


def test_an_enum_and_built_in_types_go_in_binary(source_db: Database, target_db: Database) -> None:
    for side in (source_db, target_db):
        side.execute(ENUM + "create table item (id int8, name varchar(20), at timestamptz, mood mood)")
    source_db.execute("insert into item select n, n, now(), 'sad' from generate_series(1, 50000) n")
    source_db.execute("create publication pub for table item")
    assert in_binary(source_db, "id, name, at, mood", target_db)


@pytest.mark.parametrize(
    ("on_source", "on_target"),
    [
        ("int8", "int4"),
        ("text", "varchar(30)"),
        ("mood", "text"),
        ("mood[]", "mood[]"),
        ("positive", "positive"),
        ("int8", "positive"),
        ("money", "money"),
        ("regclass", "regclass"),
        ("pair", "pair"),
    ],
)
def test_other_types_go_in_text(
    on_source: str, on_target: str, source_db: Database, target_db: Database
) -> None:
    types = ENUM + "create domain positive as int8 check (value > 0); create type pair as (a int, b int);"
    values = {"mood": "sad", "mood[]": "{sad}", "pair": "(1,2)", "regclass": "pg_class"}
    for side, column in ((source_db, on_source), (target_db, on_target)):
        side.execute(types + f"create table item (id int8, value {column})")
    source_db.execute(
        f"insert into item select n, '{values.get(on_source, 12)}' from generate_series(1, 50) n"
    )
    source_db.execute("create publication pub for table item")
    assert not in_binary(source_db, "id, value", target_db)


@pytest.mark.parametrize("on_target", ["text", "varchar"])
def test_an_empty_table_has_no_rows(on_target: str, source_db: Database, target_db: Database) -> None:
    for side, column in ((source_db, "text"), (target_db, on_target)):
        side.execute(f"create table item (id int, value {column})")
    source_db.execute("create publication pub for table item")
    assert copied(source_db, target_db).rows == 0


@pytest.mark.parametrize("on_target", ["text", "varchar"])
def test_a_target_that_says_something_in_between_gets_every_row(
    on_target: str, source_db: Database, target_db: Database
) -> None:
    for side, column in ((source_db, "text"), (target_db, on_target)):
        side.execute(f"create table item (id int primary key, value {column})")
    source_db.execute("insert into item select n, repeat('x', 500) from generate_series(1, 40000) n")
    source_db.execute("create publication pub for table item")
    target_db.execute(
        """
        create function say() returns trigger language plpgsql as
            $$ begin raise warning 'row %', new.id; return new; end $$;
        create trigger say before insert on item
            for each row when (new.id % 1000 = 0) execute function say();
        """
    )
    assert copied(source_db, target_db).rows == 40_000
    whole = "select count(*), sum(id), min(length(value)) from item"
    assert target_db.query(whole) == source_db.query(whole)
