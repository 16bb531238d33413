"""What is typed to see fewer tables. All parts, separated by white space, have to hold.

``order``: the name has it in it. ``public.``: the schema is that one. ``size>10GB``, ``rows<1000``: above or
below. ``problem:`` any problem, ``problem:key`` one with that in its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from screens.table_rows import TableRow

_NUMBER = re.compile(r"(?P<what>size|rows)(?P<sign><=|>=|<|>)(?P<number>[\d_.,]+)(?P<unit>[a-z]*)\Z")
_LOOKS_LIKE_A_NUMBER = re.compile(r"(size|rows)[<>]")
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "bytes": 1,
    "k": 1 << 10,
    "kb": 1 << 10,
    "m": 1 << 20,
    "mb": 1 << 20,
    "g": 1 << 30,
    "gb": 1 << 30,
    "t": 1 << 40,
    "tb": 1 << 40,
}
_ROW_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
}
_PROBLEM = "problem:"

_Test = Callable[[TableRow], bool]


@dataclass(frozen=True, slots=True)
class TableFilter:
    """A filter that was read."""

    tests: tuple[_Test, ...] = ()
    mistake: str = ""
    """What in it cannot be read, and how to write it; empty when all of it can."""

    def takes(self, row: TableRow) -> bool:
        """Whether a table is shown."""
        return all(test(row) for test in self.tests)


def read_filter(text: str) -> TableFilter:
    """Read what was typed; what cannot be read filters nothing and is said."""
    tests: list[_Test] = []
    mistake = ""
    for part in text.lower().split():
        test = _test(part)
        if test is None:
            mistake = f"“{part}” cannot be read; write it as size>10GB or rows<1000"
        else:
            tests.append(test)
    return TableFilter(tuple(tests), mistake)


def _test(part: str) -> _Test | None:
    if part.startswith(_PROBLEM):
        words = part.removeprefix(_PROBLEM)
        return lambda row: any(words in problem.lower() for problem in row.problems)
    if _LOOKS_LIKE_A_NUMBER.match(part):
        return _number_test(part)
    if part.endswith(".") and len(part) > 1:
        schema = part[:-1].strip('"')
        return lambda row: row.table.name.schema.lower() == schema
    return lambda row: part in row.searched


def _number_test(part: str) -> _Test | None:
    found = _NUMBER.match(part)
    if found is None:
        return None
    is_size = found["what"] == "size"
    unit = (_SIZE_UNITS if is_size else _ROW_UNITS).get(found["unit"])
    try:
        number = float(found["number"].replace(",", "").replace("_", ""))
    except ValueError:
        return None
    if unit is None:
        return None
    limit, compare = number * unit, _COMPARE[found["sign"]]
    if is_size:
        return lambda row: compare(row.table.size_bytes, limit)
    return lambda row: compare(row.table.approximate_rows, limit)
