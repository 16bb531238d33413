"""A map is changed for one table or schema, and nothing else lands elsewhere for it."""

from __future__ import annotations

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap, TableMapping, read_table_map
from engine.catalog.table_map_edit import map_schema, map_table
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
