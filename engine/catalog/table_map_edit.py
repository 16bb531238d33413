"""Changes to a table map: where one table, or one schema, lands. Imports only the standard library."""

from __future__ import annotations

import re

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap, TableMapping

_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


def exact(table: str) -> str:
    r"""The regular expression that only ``table`` matches.

    >>> print(exact("orders"), exact("a.b"))
    orders a\.b
    """
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", table)


def map_table(table_map: TableMap, table: TableName, target: TableName) -> TableMap:
    """``table_map`` by which ``table`` lands in ``target``; all other tables land where they did.

    A map of its own goes before all others, unless these lead there already.
    """
    own = (table.schema, exact(table.table))
    others = tuple(
        mapping for mapping in table_map.mappings if (mapping.source_schema, mapping.source_table) != own
    )
    without = TableMap(others)
    if without.target_of(table) == target:
        return without
    return TableMap((TableMapping(*own, target.schema, target.table), *others))


def map_schema(table_map: TableMap, schema: str, target: str) -> TableMap:
    """``table_map`` by which tables of ``schema`` that no other map names land in the schema ``target``."""
    others = tuple(
        mapping
        for mapping in table_map.mappings
        if mapping.source_schema != schema or mapping.source_table is not None
    )
    if schema == target:
        return TableMap(others)
    return TableMap((*others, TableMapping(schema, None, target, None)))
