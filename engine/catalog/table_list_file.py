"""A choice of tables as a file, such as ``tables.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.catalog.table import TableName
from engine.catalog.table_list import read_table_list, table_list_text
from engine.catalog.text_file import read_text_file, replace_text_file


def load_table_list(path: Path) -> tuple[TableName, ...]:
    """Read a saved choice.

    Raises:
        UsageError: The file cannot be read or is something else; the message says where and why.
    """
    return read_table_list(read_text_file(path, "a list of tables"), str(path))


def save_table_list(path: Path, names: Iterable[TableName]) -> None:
    """Replace a file at once, readable by its owner only.

    Raises:
        UsageError: It cannot be written; what was there before is left.
    """
    replace_text_file(path, table_list_text(names))
