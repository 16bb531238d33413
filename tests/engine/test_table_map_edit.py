"""A map is changed for one table or schema, and nothing else lands elsewhere for it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap, TableMapping, read_table_map
from engine.catalog.table_map_edit import exact, map_schema, map_table
from tests.engine.odd_names import ODD_NAMES

ORDERS = TableName("public", "orders")
ORDERS_2 = TableName("public", "orders2")


def test_one_table_lands_elsewhere_whatever_its_name() -> None:
    names = [TableName(schema, name) for schema in ("public", "b") for name in (*ODD_NAMES, "a.c", "abc")]
    table_map = TableMap()
    for name in names:
        changed = map_table(table_map, name, TableName("new", name.table[::-1]))
        assert changed.target_of(name) == TableName("new", name.table[::-1])
        assert all(changed.target_of(other) == other for other in names if other != name)
        assert read_table_map(changed.to_text(), "f") == changed
        assert map_table(changed, name, name) == TableMap()


def test_it_wins_over_what_was_there_and_gives_way_again() -> None:
    all_orders = TableMap((TableMapping("public", "orders.*", "sales", "all"),))
    kept = map_table(all_orders, ORDERS, ORDERS)
    assert kept.target_of(ORDERS) == ORDERS
    assert kept.target_of(ORDERS_2) == TableName("sales", "all")
    moved = map_table(kept, ORDERS, TableName("x", "y"))
    assert moved.target_of(ORDERS) == TableName("x", "y")
    assert len(moved.mappings) == 2
    assert map_table(moved, ORDERS, TableName("sales", "all")) == all_orders


def test_a_schema_moves_but_for_tables_with_a_map_of_their_own() -> None:
    one = map_table(TableMap(), ORDERS, TableName("public", "first"))
    both = map_schema(map_schema(one, "public", "shop"), "public", "store")
    assert both.target_of(ORDERS) == TableName("public", "first")
    assert both.target_of(ORDERS_2) == TableName("store", "orders2")
    assert both.schema_of("public") == "store"
    assert map_schema(both, "public", "public") == one


_LETTERS = st.text(st.sampled_from("ab.\\+ \n"), min_size=1, max_size=3)
_EXPRESSIONS = st.one_of(
    st.none(),
    _LETTERS.map(exact),
    st.sampled_from(["a", "a.*", r"a\.b", r"\+", "(?i)A", "a|b", r"\ab", "[ab]+"]),
)


@given(st.lists(st.tuples(st.sampled_from("xy"), _EXPRESSIONS), max_size=8), st.sampled_from("xy"), _LETTERS)
def test_the_first_of_all_that_match_decides(
    given_maps: list[tuple[str, str | None]], schema: str, table: str
) -> None:
    table_map = TableMap(
        tuple(
            TableMapping(of, expression, f"to{number}", None)
            for number, (of, expression) in enumerate(given_maps)
        )
    )
    matching = tuple(
        number
        for number, (of, expression) in enumerate(given_maps)
        if of == schema and (expression is None or re.fullmatch(expression, table))
    )
    name = TableName(schema, table)
    assert table_map.matching(name) == matching
    expected = TableName(f"to{matching[0]}", table) if matching else name
    assert table_map.target_of(name) == expected


def test_only_that_table_is_matched_by_its_own_expression() -> None:
    for name in ODD_NAMES:
        assert re.fullmatch(exact(name), name)
