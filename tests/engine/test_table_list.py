"""A choice of tables is the same after it was written to a file; a line that is no name is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalog.table import TableName
from engine.catalog.table_list import (
    parse_identifier,
    parse_table_name,
    read_table_list,
    table_list_text,
    table_name_text,
)
from engine.catalog.table_list_file import load_table_list, save_table_list
from engine.errors import UsageError
from tests.conftest import Database
from tests.engine.odd_names import ODD_NAMES

_NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)


def test_it_is_the_same_after_saving(tmp_path: Path) -> None:
    path = tmp_path / "tables.txt"
    names = {TableName(name, name[::-1]) for name in ODD_NAMES}
    save_table_list(path, names)
    assert load_table_list(path) == tuple(sorted(names))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    # One name a line, whatever is in it.
    assert len(path.read_text().splitlines()) == 1 + len(names)


@given(_NAMES, _NAMES)
def test_any_name_fits_on_a_line_and_comes_back(schema: str, table: str) -> None:
    name = TableName(schema, table)
    text = table_list_text([name])
    assert len(text.splitlines()) == 2
    assert read_table_list(text, "f") == (name,)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_postgresql_reads_a_name_as_it_is_written(source_db: Database, name: str) -> None:
    source_db.execute(f"create table {table_name_text(TableName('public', name))} ()")
    assert source_db.query("select relname from pg_class where relnamespace = 'public'::regnamespace") == [
        (name,)
    ]


def test_what_a_person_types_follows_the_rules_of_sql() -> None:
    assert parse_table_name("  Public.Orders ") == TableName("public", "orders")
    assert parse_table_name('"Odd ""1"""."a.b"') == TableName('Odd "1"', "a.b")
    assert parse_table_name(r'U&"d\0061t\+000061".u&"\\"') == TableName("data", "\\")
    assert parse_identifier("Ärger_2$") == "Ärger_2$"
    text = "\n# a comment\r\n\r\n public.b \r\npublic.a\npublic.b\n"
    assert read_table_list(text, "f") == (TableName("public", "b"), TableName("public", "a"))


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "orders",
        "a.b.c",
        "a. b",
        'a."b',
        'a."b"c',
        "a.1b",
        "a.b-c",
        'a.""',
        "a." + "ü" * 32,
        'a.U&"\\00"',
        'a.U&"\\0000"',
        'a.U&"\\d800"',
        'a.U&"\\+110000"',
        "a.b;",
    ],
)
def test_what_is_no_name_is_refused_with_its_line(typed: str) -> None:
    with pytest.raises(UsageError):
        parse_table_name(typed)
    if typed:
        with pytest.raises(UsageError, match=r"tables.txt cannot be used: line 2: "):
            read_table_list(f"public.a\n{typed}\n", "tables.txt")


def test_a_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_table_list(tmp_path / "gone")
    with pytest.raises(UsageError, match="cannot be read"):
        load_table_list(tmp_path)
    with pytest.raises(UsageError, match="no path"):
        load_table_list(Path("a\0b"))
    (tmp_path / "latin").write_bytes(b"public.\xfc")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        load_table_list(tmp_path / "latin")
    with pytest.raises(UsageError, match="cannot be written"):
        save_table_list(tmp_path / "no" / "folder", ())
