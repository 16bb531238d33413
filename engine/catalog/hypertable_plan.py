"""What makes hypertables of accepted tables once they are on the target (seed "3.2 Convert tables …").

Each statement is create_hypertable of an empty table; TimescaleDB refuses one with rows in it, and one with
a unique key that lacks the time column. What is known to be in the way on the source is said beforehand,
because a schema whose keys come after the rows is not in the way yet.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.hypertable_choice import HypertableChoice
from engine.catalog.hypertable_facts import hypertable_statement, suggest_hypertables
from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Side
from engine.script.planned import Script, ScriptStatement

FILE_NAME = "hypertables.sql"

_EXTENSION = """
select n.nspname::text
  from pg_catalog.pg_extension e
  join pg_catalog.pg_namespace n on n.oid = e.extnamespace
 where e.extname = 'timescaledb'
"""

_FOUND = """
select wanted.number::int4, c.relkind::text as relation_kind,
       exists (select from pg_catalog.pg_attribute a
                where a.attrelid = c.oid and a.attname = wanted.column_name and a.attnum > 0
                  and not a.attisdropped) as has_column
  from unnest(%(schemas)s::text[], %(tables)s::text[], %(columns)s::text[])
       with ordinality as wanted(schema_name, table_name, column_name, number)
  join pg_catalog.pg_namespace n on n.nspname = wanted.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.table_name
 where c.relkind in ('r', 'p')
"""

_HYPERTABLES = """
select h.hypertable_schema::text, h.hypertable_name::text from timescaledb_information.hypertables h
"""


@dataclass(frozen=True, slots=True)
class _Found:
    """A wanted table that the target has."""

    number: int
    """From 1."""

    relation_kind: str
    has_column: bool


def plan_hypertables(
    source: Session, target: Session, choices: Collection[HypertableChoice], table_map: TableMap
) -> Script:
    """The script that makes the accepted tables hypertables.

    Args:
        source: For what stands against it.
        target: Has TimescaleDB.
        choices: What was accepted.
        table_map: Where the tables land.

    Returns:
        A statement a table; those of tables that are not on the target yet are set apart.

    Raises:
        BlockedError: The target has no TimescaleDB.
        EngineError: A server could not be read.
    """
    ordered = sorted(choices, key=lambda choice: choice.table)
    suggestions = {
        found.table: found for found in suggest_hypertables(source, [one.table for one in ordered])
    }
    notes = []
    for choice in ordered:
        suggestion = suggestions.get(choice.table)
        columns = () if suggestion is None else suggestion.columns
        for column in columns:
            if column.name == choice.column:
                notes += [f"{choice.table}: {one.what}. {one.remedy}" for one in column.obstacles]
    targets = [table_map.target_of(choice.table) for choice in ordered]
    try:
        extension = target.execute(_EXTENSION).fetchone()
        if extension is None:
            raise BlockedError(
                Failure(
                    "The target has no TimescaleDB",
                    hint="create extension timescaledb on the target, then look again",
                    side=Side.TARGET,
                )
            )
        made = {
            TableName(str(schema), str(table)) for schema, table in target.execute(_HYPERTABLES).fetchall()
        }
        found = _look(target, ordered, targets)
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for hypertables") from None
    statements = []
    for number, (choice, name) in enumerate(zip(ordered, targets, strict=True), start=1):
        if name not in made:
            sql = hypertable_statement(target, name, choice.column, choice.interval, str(extension[0]))
            statements.append(
                ScriptStatement(f"hypertable {name} by {choice.column}", sql, _apart(found.get(number)))
            )
    return Script(
        FILE_NAME,
        "Hypertables of the accepted tables",
        tuple(statements),
        tuple(f"hypertable {name}" for name in targets if name in made),
        tuple(notes),
    )


def _look(
    target: Session, choices: Collection[HypertableChoice], targets: Collection[TableName]
) -> dict[int, _Found]:
    parameters = {
        "schemas": [name.schema for name in targets],
        "tables": [name.table for name in targets],
        "columns": [choice.column for choice in choices],
    }
    with target.cursor(row_factory=class_row(_Found)) as cursor:
        return {row.number: row for row in cursor.execute(_FOUND.encode(), parameters)}


def _apart(found: _Found | None) -> str:
    if found is None:
        return "not on the target yet: the Schema step makes it"
    if found.relation_kind == "p":
        return "partitioned on the target: make an ordinary table of it first"
    if not found.has_column:
        return "it has no such column on the target"
    return ""
