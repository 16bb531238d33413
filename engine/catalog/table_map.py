"""``--table-map``: where source tables land on the target (seed "6.1 Start Livesync", flag ``--table-map``).

Each map is ``{"source": {"schema": …, "table": …}, "target": {"schema": …, "table": …}}``. Without
``table`` it renames a whole schema. ``source.table`` is a regular expression that has to match the whole
name, so many tables may land in one. The first map that matches decides; a table that none matches keeps
its name. Imports only the standard library beside the engine's errors.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from engine.catalog.table import TableName
from engine.errors import Failure, Retry, UsageError

_EXAMPLE = (
    'Write it as {"source": {"schema": "public", "table": "metrics"}, '
    '"target": {"schema": "public", "table": "metrics_data"}}; "table" may be left out of both'
)

_ON_THE_COMMAND_LINE = "--table-map number"

_LITERAL = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9])*")
"""A regular expression that matches one text only."""

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_NAME_BYTES = 63
"""PostgreSQL cuts longer names off (4.1.1)."""


@cache
def _expression(text: str) -> re.Pattern[str]:
    # The cache of re itself is thrown over by a map for each of a thousand tables.
    return re.compile(text)


@dataclass(frozen=True, slots=True)
class TableMapping:
    """One map."""

    source_schema: str
    source_table: str | None
    """Regular expression, or None for every table of the schema."""

    target_schema: str
    target_table: str | None

    def apply(self, name: TableName) -> TableName | None:
        """Where ``name`` lands by this map, or None when it does not match."""
        if name.schema != self.source_schema:
            return None
        if self.source_table is not None and not _expression(self.source_table).fullmatch(name.table):
            return None
        return TableName(self.target_schema, self.target_table or name.table)

    def to_json(self) -> dict[str, dict[str, str]]:
        """The map as it is written on the command line."""
        source = {"schema": self.source_schema}
        target = {"schema": self.target_schema}
        if self.source_table is not None:
            source["table"] = self.source_table
        if self.target_table is not None:
            target["table"] = self.target_table
        return {"source": source, "target": target}


@dataclass(frozen=True, slots=True)
class TableMap:
    """All maps in the order they were given."""

    mappings: tuple[TableMapping, ...] = ()

    # There may be a map for each of ten thousand tables: those that name one table are looked up.
    _of_one_table: dict[tuple[str, str], tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _of_many: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_one_table: defaultdict[tuple[str, str], tuple[int, ...]] = defaultdict(tuple)
        of_many = []
        for number, mapping in enumerate(self.mappings):
            if mapping.source_table is not None and _LITERAL.fullmatch(mapping.source_table):
                of_one_table[mapping.source_schema, _ESCAPED.sub(r"\1", mapping.source_table)] += (number,)
            else:
                of_many.append(number)
        object.__setattr__(self, "_of_one_table", dict(of_one_table))
        object.__setattr__(self, "_of_many", tuple(of_many))

    def matching(self, name: TableName) -> tuple[int, ...]:
        """Numbers, from 0, of all maps that match a source table; the first decides."""
        of_many = (number for number in self._of_many if self.mappings[number].apply(name) is not None)
        return tuple(sorted((*self._of_one_table.get((name.schema, name.table), ()), *of_many)))

    def target_of(self, name: TableName) -> TableName:
        """Where a source table lands."""
        for number in self.matching(name)[:1]:
            return self.mappings[number].apply(name) or name
        return name

    def schema_of(self, schema: str) -> str:
        """Where things of a schema that are not tables land: only maps without ``table`` say so."""
        for mapping in self.mappings:
            if mapping.source_schema == schema and mapping.source_table is None:
                return mapping.target_schema
        return schema

    def to_json(self) -> list[dict[str, dict[str, str]]]:
        """For storing; :meth:`from_json` reads it back."""
        return [mapping.to_json() for mapping in self.mappings]

    @staticmethod
    def from_json(value: Sequence[object]) -> TableMap:
        """Read what :meth:`to_json` wrote.

        Raises:
            UsageError: It is not a list of maps.
        """
        return TableMap(tuple(_mapping(item, number) for number, item in enumerate(value, start=1)))

    def to_text(self) -> str:
        """A file to save: a JSON list, a map a line. :func:`read_table_map` reads it back."""
        lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in self.to_json())
        return f"[\n{lines}\n]\n" if lines else "[]\n"


def read_table_map(text: str, file_name: str) -> TableMap:
    """Read a saved table map.

    Args:
        text: The file's content, a JSON list of what ``--table-map`` takes.
        file_name: For messages.

    Raises:
        UsageError: It is something else; the message says where and why.
    """
    where = f"{file_name}: map number"
    try:
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        _refuse_file(file_name, f"it is not JSON ({error.msg} at line {error.lineno}, column {error.colno})")
    except RecursionError:
        _refuse_file(file_name, "it is not a list of maps")
    except _RepeatedKeyError as error:
        _refuse_file(file_name, f'"{error}" stands twice in one map')
    if not isinstance(value, list):
        _refuse_file(file_name, "it is not a list of maps")
    return TableMap(tuple(_mapping(item, number, where) for number, item in enumerate(value, start=1)))


class _RepeatedKeyError(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON takes the last of two equal keys without a word."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKeyError(key)
        found[key] = value
    return found


def _refuse_file(file_name: str, why: str) -> NoReturn:
    raise UsageError(
        Failure(
            f"{file_name} cannot be used: {why}", hint=f"A list of maps in []. {_EXAMPLE}", retry=Retry.NEVER
        )
    )


def parse_table_map(texts: Sequence[str]) -> TableMap:
    """Read the values of ``--table-map``.

    Raises:
        UsageError: One of them is not a map; the message says which and why.
    """
    mappings = []
    for number, text in enumerate(texts, start=1):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            _refuse(
                f"{_ON_THE_COMMAND_LINE} {number}",
                f"it is not JSON ({error.msg} at character {error.pos + 1})",
            )
        mappings.append(_mapping(value, number))
    return TableMap(tuple(mappings))


def _mapping(value: object, number: int, where: str = _ON_THE_COMMAND_LINE) -> TableMapping:
    place = f"{where} {number}"
    if not isinstance(value, dict) or set(value) != {"source", "target"}:
        _refuse(place, 'it needs exactly the keys "source" and "target"')
    source_schema, source_table = _side(value["source"], "source", place)
    target_schema, target_table = _side(value["target"], "target", place)
    if source_table is not None:
        try:
            re.compile(source_table)
        except re.error as error:
            _refuse(place, f'source "table" is not a regular expression ({error})')
    if source_table is None and target_table is not None:
        _refuse(place, 'a target "table" needs a source "table"')
    # The source's table is an expression, which may be long.
    for name in (source_schema, target_schema, target_table or ""):
        if len(name.encode(errors="surrogatepass")) > _NAME_BYTES:
            _refuse(place, f'"{name}" is longer than the {_NAME_BYTES} bytes of a name')
        if "\0" in name or _has_surrogates(name):
            _refuse(place, "a name holds a character that PostgreSQL does not take")
    return TableMapping(source_schema, source_table, target_schema, target_table)


def _has_surrogates(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


def _side(value: object, side: str, place: str) -> tuple[str, str | None]:
    if not isinstance(value, dict) or not set(value) <= {"schema", "table"}:
        _refuse(place, f'{side} may hold only "schema" and "table"')
    schema, table = value.get("schema"), value.get("table")
    if not isinstance(schema, str) or not schema:
        _refuse(place, f'{side} needs a "schema"')
    if table is not None and (not isinstance(table, str) or not table):
        _refuse(place, f'{side} "table" must be a name')
    return schema, table


def _refuse(place: str, why: str) -> NoReturn:
    raise UsageError(Failure(f"{place} cannot be used: {why}", hint=_EXAMPLE, retry=Retry.NEVER))
