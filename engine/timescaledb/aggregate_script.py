"""Makes continuous aggregates, each after what it reads (seed "3.3 Continuous aggregates").

They are made empty. Beside the query, the seed loses whether newer rows are computed, how long chunks are,
indexes, comments and owners; here each is a statement of its own.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from engine.catalog.table import TableName, quote_identifier
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement
from engine.timescaledb.aggregate import AggregateIndex, ContinuousAggregate
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.editions import unless_full
from engine.timescaledb.installation import Installation
from engine.timescaledb.words import boolean, relation

AGGREGATES_FILE = "continuous_aggregates.sql"

_OLD_BUCKET = "timescaledb_experimental."
"""Where time_bucket_ng was, which no new aggregate may use since 2.14."""


def plan_aggregates(
    source: TimescaleCatalog, target: TimescaleCatalog, same_queries: Collection[TableName]
) -> Script:
    """What makes the source's continuous aggregates on the target, without their rows.

    Args:
        source, target: As they are now; hypertables may still be plain tables on the target.
        same_queries: Aggregates of both sides with the same query, perhaps in other words
            (:func:`engine.timescaledb.same_queries.find_same_queries`).
    """
    installation = target.installation
    there = {view.name: view for view in target.aggregates}
    statements: list[ScriptStatement] = []
    same: list[str] = []
    notes: list[str] = []
    for view in source.aggregates:
        found = there.get(view.name)
        if found is None:
            made = [_creation(view, installation), *_further(view, None, installation)]
        elif view.name not in same_queries:
            made = [
                ScriptStatement(
                    _about(view),
                    _creation(view, installation).sql,
                    "it is there already with another query; drop it there to have this one",
                )
            ]
        else:
            made = _further(view, found, installation)
        statements += made
        if not made:
            same.append(_about(view))
        if not view.is_finalized:
            notes.append(
                f"{view.name} keeps the state of its aggregate functions, as before 2.7; here it keeps "
                "results, computed anew from the rows there are"
            )
        if view.owner not in installation.roles:
            notes.append(
                f"{view.name} is owned by {quote_identifier(view.owner)}, a role the target does not have"
            )
    return Script(
        AGGREGATES_FILE,
        "Continuous aggregates, empty",
        unless_full(statements, installation, "no continuous aggregates"),
        tuple(same),
        tuple(notes),
    )


def _about(view: ContinuousAggregate) -> str:
    return f"continuous aggregate {view.name}"


def _quoted(name: TableName) -> str:
    return sql.Identifier(name.schema, name.table).as_string()


def _quoted_column(name: str) -> str:
    return sql.Identifier(name).as_string()


def _creation(view: ContinuousAggregate, installation: Installation) -> ScriptStatement:
    columns = ", ".join(map(_quoted_column, view.columns))
    reason = ""
    if _OLD_BUCKET in view.query:
        reason = (
            "its query uses time_bucket_ng, which is no more; write it with time_bucket, or have the source "
            "migrate it: call _timescaledb_functions.cagg_migrate_to_time_bucket"
        )
    return ScriptStatement(
        _about(view),
        f"CREATE MATERIALIZED VIEW {_quoted(view.name)} ({columns})\n"
        f"WITH (timescaledb.continuous, timescaledb.materialized_only = {boolean(not view.is_real_time)}, "
        "timescaledb.create_group_indexes = false) AS\n"
        f"{view.query}\nWITH NO DATA",
        reason,
    )


def _further(
    view: ContinuousAggregate, found: ContinuousAggregate | None, installation: Installation
) -> list[ScriptStatement]:
    """All but the query that the aggregate on the target lacks; it is new when there is none."""
    statements = []
    name = _quoted(view.name)
    if found is not None and found.is_real_time != view.is_real_time:
        statements.append(
            ScriptStatement(
                f"{_about(view)}: whether newer rows are computed",
                f"ALTER MATERIALIZED VIEW {name} SET (timescaledb.materialized_only = "
                f"{boolean(not view.is_real_time)})",
            )
        )
    if found is None or found.extent != view.extent:
        statements.append(
            ScriptStatement(
                f"{_about(view)}: extent of chunks",
                "SELECT "
                # An interval is refused for some aggregates; a number is taken in microseconds.
                + installation.call(
                    "set_chunk_time_interval", relation(view.name), f"{view.extent.length}::bigint"
                ),
            )
        )
    statements += [_index(view, index) for index in _missing_indexes(view, found)]
    if view.comment != (None if found is None else found.comment):
        statements.append(
            ScriptStatement(f"{_about(view)}: comment", f"COMMENT ON VIEW {name} IS {_text(view.comment)}")
        )
    there = dict(() if found is None else found.column_comments)
    statements += [
        ScriptStatement(
            f"{_about(view)}: comment of {quote_identifier(column)}",
            f"COMMENT ON COLUMN {name}.{_quoted_column(column)} IS {literal(comment)}",
        )
        for column, comment in view.column_comments
        if there.get(column) != comment
    ]
    owner = installation.role if found is None else found.owner
    if owner != view.owner and view.owner in installation.roles:
        statements.append(
            ScriptStatement(
                f"{_about(view)}: owner",
                f"ALTER MATERIALIZED VIEW {name} OWNER TO {_quoted_column(view.owner)}",
            )
        )
    return statements


def _missing_indexes(view: ContinuousAggregate, found: ContinuousAggregate | None) -> list[AggregateIndex]:
    # TimescaleDB makes this one itself, whatever is said of default indexes.
    # Of a name that is a keyword, only the server knows whether it quotes it.
    names = (quote_identifier(view.bucket_column), _quoted_column(view.bucket_column))
    kinds = {(False, f"USING btree ({name} DESC)") for name in names}
    kinds |= {index.kind for index in found.indexes} if found is not None else set()
    return [index for index in view.indexes if index.kind not in kinds]


def _index(view: ContinuousAggregate, index: AggregateIndex) -> ScriptStatement:
    unique = "UNIQUE " if index.is_unique else ""
    name = "" if index.name is None else f" {_quoted_column(index.name)}"
    shown = index.definition if index.name is None else quote_identifier(index.name)
    return ScriptStatement(
        f"{_about(view)}: index {shown}",
        f"CREATE {unique}INDEX{name} ON {_quoted(view.name)} {index.definition}",
    )


def _text(comment: str | None) -> str:
    return "NULL" if comment is None else literal(comment)
