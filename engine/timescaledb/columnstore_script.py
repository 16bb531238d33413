"""Gives hypertables and continuous aggregates the columnstore of the source (seed "3.4 Columnstore").

Only where there is one: the seed's view lists all hypertables. Nothing is written in columns by this; that is
for a policy, after the copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from psycopg import sql

from engine.catalog.table import TableName, quote_identifier
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.editions import unless_full
from engine.timescaledb.hypertable import Columnstore, Hypertable, OrderColumn
from engine.timescaledb.installation import Installation
from engine.timescaledb.words import extent_text, relation

COLUMNSTORE_FILE = "enable_columnstore.sql"

_INDEXES_SINCE = (2, 22)

# The setting has to be on where it is asked for, and each statement may run in a session of its own.
_SKIPPING = """\
WITH allowed AS MATERIALIZED (SELECT pg_catalog.set_config('timescaledb.enable_chunk_skipping', 'on', true))
SELECT {call} FROM allowed"""


def plan_columnstores(source: TimescaleCatalog, target: TimescaleCatalog) -> Script:
    """What gives the target the source's columnstore settings.

    Args:
        source, target: As they are now; hypertables and aggregates may still be missing on the target.
    """
    installation = target.installation
    statements: list[ScriptStatement] = []
    same: list[str] = []
    notes: list[str] = []
    for kind, name, columnstore, found in _columnstores(source, target):
        about = f"columnstore of {name}"
        wanted = columnstore
        if wanted.indexes and installation.version < _INDEXES_SINCE:
            wanted = replace(wanted, indexes=())
            notes.append(
                f"Sparse indexes of {name} are left out: the target has {installation.version_text}, they "
                "came with 2.22"
            )
        if wanted.is_same(found):
            same.append(about)
        else:
            options = _options(wanted, installation)
            statements.append(ScriptStatement(about, f"ALTER {kind} {_quoted(name)} SET ({options})"))
    there = {table.name: table for table in target.hypertables}
    for table in source.hypertables:
        missing = _missing_skipping(table, there.get(table.name))
        statements += [_skipping(table.name, column, installation) for column in missing]
    if any(table.skipping for table in source.hypertables):
        notes.append("Chunk skipping works in sessions with timescaledb.enable_chunk_skipping = on only")
    return Script(
        COLUMNSTORE_FILE,
        "Columnstore settings; nothing is written in columns yet",
        unless_full(statements, installation, "no columnstore"),
        tuple(same),
        tuple(notes),
    )


def _columnstores(
    source: TimescaleCatalog, target: TimescaleCatalog
) -> Iterator[tuple[str, TableName, Columnstore, Columnstore | None]]:
    tables = {table.name: table.columnstore for table in target.hypertables}
    views = {view.name: view.columnstore for view in target.aggregates}
    for table in source.hypertables:
        if table.columnstore is not None:
            yield "TABLE", table.name, table.columnstore, tables.get(table.name)
    for view in source.aggregates:
        if view.columnstore is not None:
            yield "MATERIALIZED VIEW", view.name, view.columnstore, views.get(view.name)


def _missing_skipping(table: Hypertable, there: Hypertable | None) -> list[str]:
    found = () if there is None else there.skipping
    return [column for column in table.skipping if column not in found]


def _skipping(name: TableName, column: str, installation: Installation) -> ScriptStatement:
    call = installation.call("enable_chunk_skipping", relation(name), literal(column))
    return ScriptStatement(
        f"chunk skipping of {name} by {quote_identifier(column)}", _SKIPPING.replace("{call}", call)
    )


def _options(wanted: Columnstore, installation: Installation) -> str:
    new_words = installation.has("add_columnstore_policy")
    enable, segment_by, order_by = (
        ("enable_columnstore", "segmentby", "orderby")
        if new_words
        else ("compress", "compress_segmentby", "compress_orderby")
    )
    options = [f"timescaledb.{enable} = true"]
    if wanted.segment_by is not None:
        # Said even when there is none: otherwise TimescaleDB looks for one.
        names = ", ".join(map(_quoted_column, wanted.segment_by))
        options.append(f"timescaledb.{segment_by} = {literal(names)}")
    if wanted.order_by is not None:
        options.append(f"timescaledb.{order_by} = {literal(', '.join(map(_ordered, wanted.order_by)))}")
    if wanted.merged is not None:
        options.append(f"timescaledb.compress_chunk_time_interval = {literal(extent_text(wanted.merged))}")
    if wanted.indexes:
        indexes = ", ".join(
            f"{index.kind}({', '.join(map(_quoted_column, index.columns))})" for index in wanted.indexes
        )
        options.append(f"timescaledb.index = {literal(indexes)}")
    return ", ".join(options)


def _ordered(column: OrderColumn) -> str:
    direction = "DESC" if column.is_descending else "ASC"
    nulls = "FIRST" if column.nulls_first else "LAST"
    return f"{_quoted_column(column.name)} {direction} NULLS {nulls}"


def _quoted_column(name: str) -> str:
    return sql.Identifier(name).as_string()


def _quoted(name: TableName) -> str:
    return sql.Identifier(name.schema, name.table).as_string()
