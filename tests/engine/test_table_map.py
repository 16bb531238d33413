"""``--table-map``: the first map that matches decides, and a malformed one is refused by its number."""

from __future__ import annotations

import json

import pytest

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap, parse_table_map
from engine.errors import UsageError


def table_map(*maps: tuple[str, str | None, str, str | None]) -> TableMap:
    """Maps of (source schema, source table, target schema, target table)."""
    texts = []
    for source_schema, source_table, target_schema, target_table in maps:
        source = {"schema": source_schema} | ({"table": source_table} if source_table else {})
        target = {"schema": target_schema} | ({"table": target_table} if target_table else {})
        texts.append(json.dumps({"source": source, "target": target}))
    return parse_table_map(texts)


def test_a_table_that_no_map_matches_keeps_its_name() -> None:
    name = TableName("Odd Schema", 'odd "table" %s')
    assert parse_table_map([]).target_of(name) == name
    assert table_map(("public", None, "other", None)).target_of(name) == name


def test_one_table_is_renamed() -> None:
    maps = table_map(("public", "metrics", "metrics", "metrics_data"))
    assert maps.target_of(TableName("public", "metrics")) == TableName("metrics", "metrics_data")
    assert maps.target_of(TableName("other", "metrics")) == TableName("other", "metrics")


def test_the_expression_has_to_match_the_whole_name() -> None:
    maps = table_map(("public", "metric", "public", "x"), ("public", r"part_\d+", "public", "parts"))
    assert maps.target_of(TableName("public", "metrics")).table == "metrics"
    assert maps.target_of(TableName("public", "my_metric")).table == "my_metric"
    assert maps.target_of(TableName("public", "part_12")).table == "parts"
    assert maps.target_of(TableName("public", "part_12\n")).table == "part_12\n"


def test_the_first_map_that_matches_decides() -> None:
    maps = table_map(("a", "t", "first", "one"), ("a", ".*", "second", None), ("a", None, "third", None))
    assert maps.target_of(TableName("a", "t")) == TableName("first", "one")
    assert maps.target_of(TableName("a", "u")) == TableName("second", "u")
    assert maps.schema_of("a") == "third"
    assert maps.schema_of("b") == "b"


def test_it_is_the_same_after_storing() -> None:
    maps = table_map(("a", "t", "b", "u"), ("ä %s", None, "c", None), ("a", "x.*", "b", None))
    assert TableMap.from_json(json.loads(json.dumps(maps.to_json()))) == maps


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "exactly the keys"),
        ('{"source": {"schema": "a"}}', "exactly the keys"),
        ('{"source": {"schema": "a"}, "target": {"schema": "b"}, "more": 1}', "exactly the keys"),
        ('{"source": {"schema": "a", "column": "c"}, "target": {"schema": "b"}}', "source may hold only"),
        ('{"source": {"table": "a"}, "target": {"schema": "b"}}', 'source needs a "schema"'),
        ('{"source": {"schema": "a"}, "target": {"schema": ""}}', 'target needs a "schema"'),
        ('{"source": {"schema": "a", "table": 3}, "target": {"schema": "b"}}', "must be a name"),
        ('{"source": {"schema": "a", "table": "("}, "target": {"schema": "b"}}', "not a regular expression"),
        ('{"source": {"schema": "a"}, "target": {"schema": "b", "table": "t"}}', "needs a source"),
        ('{"source": "a", "target": {"schema": "b"}}', "source may hold only"),
    ],
)
def test_a_malformed_map_is_refused_by_its_number(text: str, why: str) -> None:
    good = '{"source": {"schema": "a"}, "target": {"schema": "b"}}'
    with pytest.raises(UsageError) as raised:
        parse_table_map([good, text])
    assert raised.value.failure.title.startswith("--table-map number 2 cannot be used")
    assert why in raised.value.failure.title
    assert '"source"' in raised.value.failure.hint
