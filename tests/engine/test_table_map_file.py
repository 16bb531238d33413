"""A table map is the same after it was saved; a file that is none is refused where it is wrong."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap, TableMapping, parse_table_map, read_table_map
from engine.catalog.table_map_file import load_table_map, save_table_map
from engine.catalog.table_map_review import review_table_map
from engine.errors import UsageError
from tests.engine.odd_names import ODD_NAMES

GOOD = '{"source": {"schema": "a"}, "target": {"schema": "b"}}'


def test_it_is_the_same_after_saving(tmp_path: Path) -> None:
    path = tmp_path / "table map.json"
    mappings = [TableMapping(name, None, name[::-1], None) for name in ODD_NAMES]
    mappings += [TableMapping("s", r"part_\d+", "t", name) for name in ODD_NAMES]
    for table_map in (TableMap(tuple(mappings)), TableMap()):
        save_table_map(path, table_map)
        assert load_table_map(path) == table_map
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "[]\n"


def test_each_line_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    table_map = parse_table_map([GOOD, GOOD.replace('"a"', '"ä"')])
    lines = table_map.to_text().splitlines()
    assert parse_table_map([line.strip().removesuffix(",") for line in lines[1:-1]]) == table_map


def test_an_editor_may_have_put_a_mark_first() -> None:
    assert read_table_map(f"\ufeff[{GOOD}]\r\n", "f") == parse_table_map([GOOD])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1"),
        (f"[{GOOD},\n]", "line 2"),
        (GOOD, "not a list"),
        ('"a"', "not a list"),
        ("[" * 100_000, "f cannot be used"),
        (f"[{GOOD}, 1]", "map number 2 cannot be used: it needs exactly"),
        (f'[{GOOD}, {GOOD[:-1]}, "target": {{}}}}]', '"target" stands twice'),
        ('[{"source": {"schema": "a", "table": "("}, "target": {"schema": "b"}}]', "regular expression"),
        (f"[{GOOD.replace('b', 'ä' * 32)}]", "63 bytes"),
        (f"[{GOOD.replace('b', chr(92) + 'u0000')}]", "does not take"),
        (f"[{GOOD.replace('b', chr(92) + 'ud800')}]", "does not take"),
    ],
)
def test_a_file_that_is_no_table_map_is_refused_where_it_is_wrong(text: str, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_table_map(text, "f")
    assert raised.value.failure.title.startswith("f")
    assert why in raised.value.failure.title
    assert '"source"' in raised.value.failure.hint


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"[\xff]")
    large = tmp_path / "large"
    with large.open("wb") as opened:
        opened.truncate(17 * 1024 * 1024)
    for path, why in (
        (tmp_path / "gone", "No such"),
        (tmp_path, "directory"),
        (binary, "UTF-8"),
        (large, "large"),
    ):
        with pytest.raises(UsageError, match=why) as raised:
            load_table_map(path)
        assert str(path) in raised.value.failure.title
    for path in (tmp_path / "gone" / "map.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be written"):
            save_table_map(path, TableMap())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary", "large"]


def test_what_a_map_does_to_the_tables_is_told() -> None:
    maps = [
        {"source": {"schema": "a", "table": r"part_\d+"}, "target": {"schema": "a", "table": "parts"}},
        {"source": {"schema": "a"}, "target": {"schema": "b"}},
        {"source": {"schema": "a", "table": "part_1"}, "target": {"schema": "c"}},
        {"source": {"schema": "misspelt"}, "target": {"schema": "c"}},
    ]
    tables = [TableName("a", "part_1"), TableName("a", "part_2"), TableName("a", "x"), TableName("b", "x")]
    review = review_table_map(parse_table_map([json.dumps(item) for item in maps]), tables)
    assert [len(mapping.decides) for mapping in review.mappings] == [2, 1, 0, 0]
    assert review.mappings[1].comes_too_late == tuple(tables[:2])
    assert [mapping.mapping.source_schema for mapping in review.idle] == ["a", "misspelt"]
    assert review.shared == (
        (TableName("a", "parts"), tuple(tables[:2])),
        (TableName("b", "x"), tuple(tables[2:])),
    )
    assert [source for source, _ in review.moved] == tables[:3]
    assert review_table_map(TableMap(), tables).moved == ()
