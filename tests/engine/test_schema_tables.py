"""Tables by schema, and what a choice would leave behind."""

from __future__ import annotations

from engine.catalog.schema_tables import TableTie, by_schema, left_behind
from engine.catalog.table import TableName
from engine.catalog.table_ties import read_ties
from engine.catalog.tables import list_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from tests.conftest import Database


def name(table: str, schema: str = "public") -> TableName:
    return TableName(schema, table)


def test_a_schema_says_what_can_be_chosen_in_it(source_db: Database) -> None:
    source_db.execute(
        """
        create schema "B %s"; create table "B %s".one (i int primary key);
        create table "B %s".two (i int); create unlogged table "B %s".three (i int);
        create table z (i int primary key);
        insert into "B %s".one select generate_series(1, 1000); analyze;
        """
    )
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as session:
        first, second = by_schema(list_tables(session))
    assert (first.schema, second.schema) == ("B %s", "public")
    assert [table.name.table for table in first.tables] == ["one", "three", "two"]
    assert [table.name.table for table in first.movable] == ["one", "two"]
    assert [table.name.table for table in first.without_identity] == ["two"]
    assert first.approximate_rows == 1000
    assert first.size_bytes >= 32768


def test_foreign_keys_and_children_are_found(source_db: Database) -> None:
    source_db.execute(
        """
        create table customer (i int primary key, parent int references customer);
        create table parts (i int primary key, c int constraint "To %s" references customer)
            partition by list (i);
        create table part1 partition of parts for values in (1);
        create table part2 partition of parts default;
        create table line (p int references parts, c int references customer);
        create schema "S 1"; create table "S 1".child (j int) inherits (customer);
        """
    )
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as session:
        ties = read_ties(session)
    assert ties == (
        TableTie(name("child", "S 1"), name("customer"), None),
        TableTie(name("line"), name("customer"), "line_c_fkey"),
        TableTie(name("line"), name("parts"), "line_p_fkey"),
        TableTie(name("parts"), name("customer"), "To %s"),
    )
    everything = {tie.table for tie in ties} | {tie.other for tie in ties}
    assert left_behind(ties, everything) == ()
    assert left_behind(ties, [name("line"), name("customer")]) == (ties[0], ties[2])
    assert left_behind(ties, [name("customer"), name("child", "S 1")]) == ()
    assert left_behind(ties, [name("child", "S 1")]) == ()
