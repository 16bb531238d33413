"""Writes the net effect of a batch into one target table: COPY, then one statement for many rows.

Inserts go into the table itself by COPY. Updates and deletes are copied into a temporary table and applied
by one UPDATE or DELETE that joins it. Everything for one table travels as one script, so a distant target
costs one round trip for each COPY and not one for each statement. Every statement's row count is compared
with what was staged; a difference means that the fast way does not fit, and the caller falls back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import psycopg
from psycopg import sql

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.replication.change_statement import ChangeStatements
from engine.replication.coalesce import NetChanges
from engine.replication.copy_text import TEXT_OPTIONS, copy_block
from engine.replication.protocol import UNCHANGED
from engine.replication.script import ScriptStep, run_script
from engine.replication.target_table import TargetColumn
from engine.replication.tuple_data import Fields

_MOST_STAGES = 200
"""Temporary tables kept for reuse; each is a row in the target's catalogs and a file."""

JOIN_BY_INDEX = {"enable_hashjoin": "off", "enable_mergejoin": "off"}
"""The planner knows nothing of a freshly filled temporary table and would read the whole target table to
join a few thousand rows: with an index on the key, looking up each costs half as much (measured)."""

_CHEAPLY_SORTED = frozenset({20, 21, 23, 26, 1082, 1114, 1184, 2950})
"""Oids of integers, dates, times and uuid. Rows found in the order of their key meet each page of the index
and, often, of the table once: 5 instead of 8 µs a row for random keys (measured). Sorting text under a
language's rules would cost as much as it saves."""

_SAVEPOINT = sql.SQL("savepoint livesync_table")

_RELEASE = sql.SQL("release savepoint livesync_table")

_ROLL_BACK = "rollback to savepoint livesync_table"


class RowCountError(Exception):
    """A statement touched another number of rows than were staged."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One temporary table: key columns first, then the columns to set."""

    name: str


class BulkWriter:
    """Owns the temporary tables and the savepoint of one target session."""

    def __init__(
        self, session: Session, *, on_progress: Callable[[], None], should_stop: Callable[[], bool]
    ) -> None:
        self._session = session
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._stages: OrderedDict[tuple[object, ...], _Stage] = OrderedDict()
        self._at_savepoint = self._stages.copy()
        self._count = 0
        self._has_savepoint = False
        self._script: list[ScriptStep] = []

    def set_savepoint(self) -> None:
        """From here on :meth:`roll_back` undoes what is written; it is sent with what comes next."""
        self._script = [ScriptStep(_RELEASE)] if self._has_savepoint else []
        self._script.append(ScriptStep(_SAVEPOINT))
        self._has_savepoint = True
        self._at_savepoint = self._stages.copy()

    def send_savepoint(self) -> None:
        """Send it now, for what does not come through :meth:`write`.

        Raises:
            EngineError: The target was lost.
        """
        script, self._script = self._script, []
        if script:
            self._run(script)

    def forget_savepoint(self) -> None:
        """The transaction has ended, and its savepoint with it."""
        self._has_savepoint = False

    def roll_back(self) -> None:
        """Undo what was written since the savepoint.

        Raises:
            EngineError: The target was lost.
        """
        try:
            self._session.execute(_ROLL_BACK)
            # Statements whose preparation came after the failure do not exist.
            self._session.execute("deallocate all")
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "rolling back a batch") from None
        # Temporary tables created since are gone, those dropped are back.
        self._stages = self._at_savepoint.copy()

    def write(self, statements: ChangeStatements, changes: NetChanges) -> None:
        """Write ``changes`` inside the open transaction: deletes, then updates, then inserts.

        Raises:
            RowCountError: A row that should be there is not, or is there twice.
            EngineError: The target refused a statement or a row, or was lost.
        """
        script, self._script = self._script, []
        if changes.deletes:
            script += self._delete(statements, changes)
        if changes.updates:
            script += self._update(statements, changes)
        rows = [*changes.appended, *changes.inserts.values()]
        if rows:
            script.append(_insert(statements, rows))
        counts = self._run(script)
        for step, count in zip(script, counts, strict=True):
            if step.rows is not None and count != step.rows:
                raise RowCountError

    def _run(self, script: Sequence[ScriptStep]) -> list[int]:
        return run_script(self._session, script, on_progress=self._on_progress, should_stop=self._should_stop)

    def _delete(self, statements: ChangeStatements, changes: NetChanges) -> list[ScriptStep]:
        keys = statements.key_positions
        stage, script = self._stage(statements, keys, ())
        rows = [(key,) for key in changes.deletes] if len(keys) == 1 else list(changes.deletes)
        return [
            *script,
            _fill(stage, copy_block(cast("list[Fields]", rows), range(len(keys))), len(rows)),
            *_join_settings(statements),
            ScriptStep(
                sql.SQL("delete from {} as target using {} where {}").format(
                    statements.table.rows_of, _ordered(statements, stage), _match(statements)
                ),
                rows=len(rows),
            ),
        ]

    def _update(self, statements: ChangeStatements, changes: NetChanges) -> list[ScriptStep]:
        settable = statements.settable_positions
        if not changes.has_partial_updates:
            return self._update_columns(statements, settable, changes.updates.values())
        by_columns: dict[tuple[int, ...], list[Fields]] = {}
        for row in changes.updates.values():
            sent = tuple([position for position in settable if row[position] is not UNCHANGED])
            by_columns.setdefault(sent, []).append(row)
        return [
            step for sent, rows in by_columns.items() for step in self._update_columns(statements, sent, rows)
        ]

    def _update_columns(
        self, statements: ChangeStatements, sent: tuple[int, ...], updates: Collection[Fields]
    ) -> list[ScriptStep]:
        if not sent:
            return []
        keys = statements.key_positions
        stage, script = self._stage(statements, keys, sent)
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = stage.{}").format(
                sql.Identifier(statements.column(position).name), sql.Identifier(f"new_{position}")
            )
            for position in sent
        )
        return [
            *script,
            _fill(stage, copy_block(updates, (*keys, *sent)), len(updates)),
            *_join_settings(statements),
            ScriptStep(
                sql.SQL("update {} as target set {} from {} where {}").format(
                    statements.table.rows_of, assignments, _ordered(statements, stage), _match(statements)
                ),
                rows=len(updates),
            ),
        ]

    def _stage(
        self, statements: ChangeStatements, keys: Sequence[int], sent: Sequence[int]
    ) -> tuple[_Stage, list[ScriptStep]]:
        """The temporary table for these columns, and what makes or empties it."""
        # The statements object stands for one table as the stream and the target describe it now.
        identity = (statements, tuple(keys), tuple(sent))
        stage = self._stages.get(identity)
        if stage is not None:
            self._stages.move_to_end(identity)
            # A batch inside a large transaction may follow another one that used the same table.
            return stage, [ScriptStep(sql.SQL("truncate pg_temp.{}").format(sql.Identifier(stage.name)))]
        self._count += 1
        stage = self._stages[identity] = _Stage(f"livesync_stage_{self._count}")
        columns = [_definition(f"key_{position}", statements.column(position)) for position in keys]
        columns += [_definition(f"new_{position}", statements.column(position)) for position in sent]
        script = [
            ScriptStep(
                sql.SQL("create temporary table {} ({}) on commit delete rows").format(
                    sql.Identifier(stage.name), sql.SQL(", ").join(columns)
                )
            )
        ]
        if len(self._stages) > _MOST_STAGES:
            _, oldest = self._stages.popitem(last=False)
            script.append(ScriptStep(sql.SQL("drop table pg_temp.{}").format(sql.Identifier(oldest.name))))
        return stage, script


def _insert(statements: ChangeStatements, inserts: Sequence[Fields]) -> ScriptStep:
    positions = statements.written_positions
    # A list of columns cannot be empty, as it would be where the target computes them all.
    names = sql.SQL(" ({})").format(statements.names(positions)) if positions else sql.SQL("")
    statement = sql.SQL("copy {}{} from stdin {}").format(statements.table_identifier, names, TEXT_OPTIONS)
    return ScriptStep(statement, copy_block(inserts, positions), len(inserts))


def _fill(stage: _Stage, block: bytes, rows: int) -> ScriptStep:
    statement = sql.SQL("copy pg_temp.{} from stdin {}").format(sql.Identifier(stage.name), TEXT_OPTIONS)
    return ScriptStep(statement, block, rows)


def _ordered(statements: ChangeStatements, stage: _Stage) -> sql.Composed:
    """The temporary table as the statement that joins it names it."""
    name = sql.Identifier(stage.name)
    keys = statements.key_positions
    if any(statements.column(position).type_oid not in _CHEAPLY_SORTED for position in keys):
        return sql.SQL("pg_temp.{} as stage").format(name)
    return sql.SQL("(select * from pg_temp.{} order by {}) as stage").format(
        name, sql.SQL(", ").join(sql.Identifier(f"key_{position}") for position in keys)
    )


def _join_settings(statements: ChangeStatements) -> list[ScriptStep]:
    joins_by_index = statements.table.has_key_index(
        [statements.column(position).name for position in statements.key_positions]
    )
    return [
        ScriptStep(
            sql.SQL("set local {} = {}").format(sql.SQL(name), sql.SQL(value if joins_by_index else "on"))
        )
        for name, value in JOIN_BY_INDEX.items()
    ]


def _match(statements: ChangeStatements) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("target.{} operator({}.=) stage.{}").format(
            sql.Identifier(column.name),
            sql.Identifier(column.equality_schema),
            sql.Identifier(f"key_{position}"),
        )
        for position, column in (
            (position, statements.column(position)) for position in statements.key_positions
        )
    )


def _definition(name: str, column: TargetColumn) -> sql.Composed:
    return sql.Composed([sql.Identifier(name), sql.SQL(" "), sql.SQL(column.type_name)])
