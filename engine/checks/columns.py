"""Columns of tables that are on both sides: what would be refused, rounded or lost on its way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import TableName, quote_identifier
from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.checks.tables import counted
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_COLUMNS = """
select n.nspname::text as schema_name, c.relname::text as table_name, a.attname::text as column_name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
       a.attgenerated <> '' as is_generated,
       a.attnotnull and not a.atthasdef and a.attidentity = '' as needs_a_value
  from unnest(%s::text[], %s::text[]) as wanted (schema_name, table_name)
  join pg_catalog.pg_namespace n on n.nspname = wanted.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.table_name
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relkind in ('r', 'p')
 order by n.nspname, c.relname, a.attnum
"""

_TYPE = re.compile(
    r"(?P<name>.*?)(?:\((?P<first>\d+)(?:,(?P<second>-?\d+))?\))?(?P<rest>(?: with.*)?(?:\[\])*)\Z"
)

_INTEGERS = {"smallint": 1, "integer": 2, "bigint": 3}
_TEXTS = frozenset({"text", "character varying", "character", "name"})
_TIMES = ("timestamp", "time", "interval")

_TOO_LONG = "longer texts are refused"
_TOO_LARGE = "larger numbers are refused"
_ROUNDED = "values are rounded"


@dataclass(frozen=True, slots=True)
class _Column:
    schema_name: str
    table_name: str
    column_name: str
    type: str
    is_generated: bool
    needs_a_value: bool

    @property
    def table(self) -> TableName:
        return TableName(self.schema_name, self.table_name)


def type_risk(source: str, target: str) -> str | None:
    """What may happen to a value of one type in a column of another, None when nothing can.

    Args:
        source: As ``format_type`` writes it, such as ``numeric(10,2)``.
        target: Likewise.

    >>> type_risk("integer", "bigint"), type_risk("bigint", "integer")
    (None, 'larger numbers are refused')
    """
    if source == target:
        return None
    theirs, ours = _TYPE.match(source), _TYPE.match(target)
    assert theirs is not None  # The pattern matches any text.
    assert ours is not None
    name, other = theirs["name"] + theirs["rest"], ours["name"] + ours["rest"]
    if other == "text" or (other == "character varying" and not ours["first"]):
        return None
    if name in _INTEGERS and other in _INTEGERS:
        return None if _INTEGERS[name] <= _INTEGERS[other] else _TOO_LARGE
    if name in _INTEGERS and other == "numeric" and not ours["first"]:
        return None
    if {name, other} == {"real", "double precision"}:
        return None if name == "real" else _ROUNDED
    if (name, other) in (("json", "jsonb"), ("jsonb", "json")):
        return None if other == "json" else "spaces, order and repeated keys are lost"
    if {name, other} == {"timestamp with time zone", "timestamp without time zone"}:
        return "points in time become readings of a clock in UTC, or the other way round"
    if name in _TEXTS and other in _TEXTS:
        return None if _length(name, theirs["first"]) <= _length(other, ours["first"]) else _TOO_LONG
    if name == other == "numeric":
        return _numeric_risk(theirs, ours)
    if name == other and name.startswith(_TIMES):
        # Without a number it is 6.
        return None if int(theirs["first"] or 6) <= int(ours["first"] or 6) else _ROUNDED
    if name == other:
        return None if not ours["first"] else f"{target} may not hold what {source} does"
    return "another type: values that it does not read are refused"


def _length(name: str, characters: str | None) -> float:
    if characters:
        return int(characters)
    # character without a number is one character (PostgreSQL 8.3).
    return {"character": 1, "name": 63}.get(name, float("inf"))


def _numeric_risk(source: re.Match[str], target: re.Match[str]) -> str | None:
    if not target["first"]:
        return None
    if not source["first"]:
        return f"{_TOO_LARGE}, others are rounded"
    source_scale, target_scale = int(source["second"] or 0), int(target["second"] or 0)
    if int(source["first"]) - source_scale > int(target["first"]) - target_scale:
        return _TOO_LARGE
    return _ROUNDED if source_scale > target_scale else None


def column_risks(
    source: Session, target: Session, tables: Iterable[TableName]
) -> dict[TableName, tuple[str, ...]]:
    """What may happen to values of tables that have one name on both sides, by table.

    Args:
        source, target: Sessions there.
        tables: Those to look at; what is on one side only is left out.

    Returns:
        A sentence for each column in danger; none for a table whose columns agree.

    Raises:
        EngineError: A server could not be read.
    """
    names = list(tables)
    theirs = _read(source, names, Side.SOURCE)
    ours = _read(target, names, Side.TARGET)
    return {
        table: tuple(_table_risks(table, columns, ours[table]))
        for table, columns in theirs.items()
        if table in ours
    }


def check_columns(source: Server, target: Server, source_tables: Iterable[TableName]) -> Finding:
    """Compare the columns of tables that have one name on both sides.

    Raises:
        EngineError: A server could not be read.
    """
    check = "columns"
    both = column_risks(source.session, target.session, source_tables)
    risks = [risk for of_a_table in both.values() for risk in of_a_table]
    if not risks:
        found = (
            f"{counted(len(both), 'table')} of one name agree" if both else "no table is on both sides yet"
        )
        return ok(check, Side.TARGET, found)
    return trouble(
        check,
        Side.TARGET,
        Verdict.WARNING,
        f"{counted(len(risks), 'column')} differ: {'; '.join(risks[:3])}{' …' if len(risks) > 3 else ''}",
        "A value that the target's column refuses sets its table aside; one that is rounded or left out is "
        "not equal any more",
        remedy=by_hand(
            "Change the target's columns to the source's types (alter table … alter column … type …), or "
            "drop these tables there and let the schema step create them"
        ),
    )


def _read(session: Session, names: list[TableName], side: Side) -> dict[TableName, dict[str, _Column]]:
    tables: dict[TableName, dict[str, _Column]] = {}
    try:
        with session.cursor(row_factory=class_row(_Column)) as cursor:
            parameters = ([name.schema for name in names], [name.table for name in names])
            for column in cursor.execute(_COLUMNS, parameters):
                tables.setdefault(column.table, {})[column.column_name] = column
    except psycopg.Error as error:
        raise explain(error, side, "comparing columns") from None
    return tables


def _table_risks(
    table: TableName, theirs: Mapping[str, _Column], ours: Mapping[str, _Column]
) -> Iterable[str]:
    for name, column in theirs.items():
        where = f"{table}.{quote_identifier(name)}"
        other = ours.get(name)
        if other is None:
            if not column.is_generated:
                yield f"{where} is not there"
        elif column.is_generated and not other.is_generated:
            yield f"{where} is generated on the source only and would stay empty"
        elif not column.is_generated and other.is_generated:
            yield f"{where} is generated on the target only"
        elif risk := type_risk(column.type, other.type):
            yield f"{where} {column.type} → {other.type}: {risk}"
    for name, column in ours.items():
        if name not in theirs and column.needs_a_value:
            yield f"{table}.{quote_identifier(name)} is only on the target and NOT NULL without default"
