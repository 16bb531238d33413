"""What has to be done on the target after DDL on the source, as statements a person can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Failure, Side
from engine.replication.publication import PublishedTable, list_published_tables
from engine.replication.state import TableRow
from engine.replication.subscription import SubscriptionConfig
from engine.replication.target_table import TargetTable, read_target_table

_TYPES = """
select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
  from pg_catalog.pg_attribute a
 where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
"""

_VALUE_REFUSED = ("22", "42804")
"""SQLSTATEs of a value that the target's column cannot hold."""

_NULL_REFUSED = "23502"


def with_fitting_hint(
    config: SubscriptionConfig, target: Session, row: TableRow, failure: Failure
) -> Failure:
    """``failure`` with the statements that make the target table fit, when its columns are the reason."""
    try:
        with open_session(config.source, f"columns {row.oid}") as session:
            types = read_published_types(session, config.publications, row.oid)
        table = read_target_table(target, row.source, row.target)
    except EngineError:
        return failure  # It stands without them.
    return _with_statements(types, table, failure, "retry the table")


def with_first_start_hint(
    source: Session, published: PublishedTable, table: TargetTable, failure: Failure
) -> Failure:
    """``failure`` of a table that was never copied, with the statements that make the target table fit.

    Raises:
        EngineError: The source could not be read.
    """
    types = _published_types(source, published)
    return _with_statements(types, table, failure, "run again")


def _with_statements(
    types: Mapping[str, str], table: TargetTable, failure: Failure, afterwards: str
) -> Failure:
    statements = statements_to_fit(types, table, failure.sqlstate or "")
    if not statements:
        return failure
    return replace(failure, hint=f"Run on the target: {' '.join(statements)} Then {afterwards}")


def read_published_types(source: Session, publications: Sequence[str], oid: int) -> dict[str, str]:
    """The published columns of one table with their types as DDL writes them.

    Raises:
        EngineError: The source could not be read.
    """
    tables = list_published_tables(source, publications, only_oid=oid)
    return _published_types(source, tables[0]) if tables else {}


def _published_types(source: Session, table: PublishedTable) -> dict[str, str]:
    try:
        rows = source.execute(_TYPES, (table.oid,)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading a table's columns") from None
    types = {str(name): str(type_name) for name, type_name in rows}
    return {column: types[column] for column in table.columns if column in types}


def statements_to_fit(types: Mapping[str, str], table: TargetTable, sqlstate: str) -> tuple[str, ...]:
    """What to run so that ``table`` takes rows with columns of ``types``.

    Args:
        types: Published columns with their types.
        table: The target table as it is.
        sqlstate: Why the target refused a row, "" when it was never asked. A column that is more than the
            source has, or of another type, is meant that way unless a row was refused for it.
    """
    missing = [name for name in types if name not in table.columns]
    extra = [name for name in table.columns if name not in types]
    changes: list[sql.Composed] = []
    if len(missing) == len(extra) == 1 and types[missing[0]] == table.columns[extra[0]].type_name:
        changes.append(
            sql.SQL("rename column {} to {}").format(sql.Identifier(extra[0]), sql.Identifier(missing[0]))
        )
        missing, extra = [], []
    changes += [
        sql.SQL("add column {} {}").format(sql.Identifier(name), sql.SQL(types[name])) for name in missing
    ]
    if sqlstate == _NULL_REFUSED:
        changes += [
            sql.SQL("alter column {} drop not null").format(sql.Identifier(name))
            for name in extra
            if table.columns[name].is_required
        ]
    if sqlstate.startswith(_VALUE_REFUSED):
        changes += [
            sql.SQL("alter column {} type {}").format(sql.Identifier(name), sql.SQL(type_name))
            for name, type_name in types.items()
            if name in table.columns and table.columns[name].type_name != type_name
        ]
    return tuple(
        sql.SQL("alter table {} {};")
        .format(sql.Identifier(table.name.schema, table.name.table), change)
        .as_string(None)
        for change in changes
    )
