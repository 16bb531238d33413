"""A table map as a file: the maps of ``--table-map`` as a JSON list, for review and version control."""

from __future__ import annotations

from pathlib import Path

from engine.catalog.table_map import TableMap, read_table_map
from engine.catalog.text_file import read_text_file, replace_text_file


def load_table_map(path: Path) -> TableMap:
    """Read a saved table map.

    Raises:
        UsageError: The file cannot be read or is something else; the message says where and why.
    """
    return read_table_map(read_text_file(path, "a table map"), str(path))


def save_table_map(path: Path, table_map: TableMap) -> None:
    """Replace a file at once, readable by its owner only.

    Raises:
        UsageError: It cannot be written; what was there before is left.
    """
    replace_text_file(path, table_map.to_text())
