"""Writes the net effect of a batch into one target table: COPY, then one statement for many rows.

Inserts go into the table itself by COPY. Updates and deletes are copied into a temporary table and applied
by one UPDATE or DELETE that joins it. Every statement's row count is compared with what was staged; a
difference means that the fast way does not fit, and the caller falls back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from engine.connection.session import Session
from engine.replication.change_statement import ChangeStatements
from engine.replication.coalesce import NetChanges
from engine.replication.copy import copy_lines
from engine.replication.copy_text import copy_line
from engine.replication.protocol import UNCHANGED, Row, Value
from engine.replication.target_table import TargetColumn

_MOST_STAGES = 200
"""Temporary tables kept for reuse; each is a row in the target's catalogs and a file."""

JOIN_BY_INDEX = {"enable_hashjoin": "off", "enable_mergejoin": "off"}
"""The planner knows nothing of a freshly filled temporary table and would read the whole target table to
join a few thousand rows: with an index on the key, looking up each costs half as much (measured)."""


class RowCountError(Exception):
    """A statement touched another number of rows than were staged."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One temporary table: key columns first, then the columns to set."""

    name: str


class BatchWriter:
    """Owns the temporary tables of one target session."""

    def __init__(self, session: Session, should_stop: Callable[[], bool]) -> None:
        self._session = session
        self._should_stop = should_stop
        self._stages: OrderedDict[tuple[object, ...], _Stage] = OrderedDict()
        self._at_savepoint = self._stages.copy()
        self._count = 0

    def remember_savepoint(self) -> None:
        """A savepoint was set: what :meth:`forget_since_savepoint` goes back to."""
        self._at_savepoint = self._stages.copy()

    def forget_since_savepoint(self) -> None:
        """The savepoint was rolled back to: tables created since are gone, those dropped are back."""
        self._stages = self._at_savepoint.copy()

    def write(self, statements: ChangeStatements, changes: NetChanges) -> None:
        """Write ``changes`` inside the open transaction: deletes, then updates, then inserts.

        Raises:
            RowCountError: A row that should be there is not, or is there twice.
            psycopg.Error: The target refused a statement.
            EngineError: The target was lost or refused a row during COPY.
        """
        if changes.deletes:
            self._delete(statements, changes)
        if changes.updates:
            self._update(statements, changes)
        rows = [*changes.appended, *changes.inserts.values()]
        if rows:
            self._insert(statements, rows)

    def _insert(self, statements: ChangeStatements, rows: Sequence[Row]) -> None:
        positions = statements.written_positions
        copy = sql.SQL("copy {} ({}) from stdin").format(
            statements.table_identifier, statements.names(positions)
        )
        self._copy(copy, (copy_line([row[position] for position in positions]) for row in rows))

    def _delete(self, statements: ChangeStatements, changes: NetChanges) -> None:
        stage = self._stage(statements, statements.key_positions, ())
        self._fill(stage, (copy_line(key) for key in changes.deletes))
        deleted = self._execute(
            statements,
            sql.SQL("delete from {} as target using pg_temp.{} as stage where {}").format(
                statements.table.rows_of, sql.Identifier(stage.name), self._match(statements)
            ),
        )
        if deleted != len(changes.deletes):
            raise RowCountError

    def _update(self, statements: ChangeStatements, changes: NetChanges) -> None:
        by_columns: dict[tuple[int, ...], list[tuple[tuple[Value, ...], Row]]] = {}
        for key, row in changes.updates.items():
            sent = tuple(
                position for position in statements.settable_positions if row[position] is not UNCHANGED
            )
            by_columns.setdefault(sent, []).append((key, row))
        for sent, rows in by_columns.items():
            if sent:
                self._update_columns(statements, sent, rows)

    def _update_columns(
        self,
        statements: ChangeStatements,
        sent: tuple[int, ...],
        rows: Sequence[tuple[tuple[Value, ...], Row]],
    ) -> None:
        stage = self._stage(statements, statements.key_positions, sent)
        self._fill(stage, (copy_line([*key, *(row[position] for position in sent)]) for key, row in rows))
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = stage.{}").format(
                sql.Identifier(statements.column(position).name), sql.Identifier(f"new_{position}")
            )
            for position in sent
        )
        updated = self._execute(
            statements,
            sql.SQL("update {} as target set {} from pg_temp.{} as stage where {}").format(
                statements.table.rows_of, assignments, sql.Identifier(stage.name), self._match(statements)
            ),
        )
        if updated != len(rows):
            raise RowCountError

    def _match(self, statements: ChangeStatements) -> sql.Composed:
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

    def _stage(self, statements: ChangeStatements, keys: Sequence[int], sent: Sequence[int]) -> _Stage:
        # The statements object stands for one table as the stream and the target describe it now.
        identity = (statements, tuple(keys), tuple(sent))
        stage = self._stages.get(identity)
        if stage is None:
            stage = self._create(statements, keys, sent)
            self._stages[identity] = stage
            if len(self._stages) > _MOST_STAGES:
                _, oldest = self._stages.popitem(last=False)
                self._session.execute(sql.SQL("drop table pg_temp.{}").format(sql.Identifier(oldest.name)))
        else:
            self._stages.move_to_end(identity)
        return stage

    def _create(self, statements: ChangeStatements, keys: Sequence[int], sent: Sequence[int]) -> _Stage:
        self._count += 1
        name = f"livesync_stage_{self._count}"
        columns = [_definition(f"key_{position}", statements.column(position)) for position in keys]
        columns += [_definition(f"new_{position}", statements.column(position)) for position in sent]
        self._session.execute(
            sql.SQL("create temporary table {} ({}) on commit delete rows").format(
                sql.Identifier(name), sql.SQL(", ").join(columns)
            )
        )
        return _Stage(name)

    def _fill(self, stage: _Stage, lines: Iterable[bytes]) -> None:
        # A batch inside a large transaction may follow another one that used the same table.
        self._session.execute(sql.SQL("truncate pg_temp.{}").format(sql.Identifier(stage.name)))
        self._copy(sql.SQL("copy pg_temp.{} from stdin").format(sql.Identifier(stage.name)), lines)

    def _copy(self, statement: sql.Composed, lines: Iterable[bytes]) -> None:
        copy_lines(self._session, statement, lines, self._should_stop)

    def _execute(self, statements: ChangeStatements, statement: sql.Composed) -> int:
        joins_by_index = statements.table.has_key_index(
            [statements.column(position).name for position in statements.key_positions]
        )
        for name, value in JOIN_BY_INDEX.items():
            self._session.execute(
                sql.SQL("set local {} = {}").format(sql.SQL(name), sql.SQL(value if joins_by_index else "on"))
            )
        return self._session.execute(statement).rowcount


def _definition(name: str, column: TargetColumn) -> sql.Composed:
    return sql.Composed([sql.Identifier(name), sql.SQL(" "), sql.SQL(column.type_name)])
