"""Builds the statement that applies one change, and the values that go with it.

The forms, by replica identity (PostgreSQL 29.1.1):

* default and index: the key's columns name the row, with the equality operator of their type;
* full: the whole old row names it. Rows are compared by image (``*=``, PostgreSQL 9.25.6), which treats
  NULLs as equal, works for types without an equality operator (json) and tells -0.0 from 0.0; of several
  identical rows exactly one is taken, by its physical place;
* nothing: only inserts arrive.

A value that names a row is read by the column's own type, length and scale included, as COPY and PostgreSQL's
own apply read it: ``1.234`` finds the row whose numeric(6,2) column took it as 1.23, and a text too long for
its varchar(5) is an error. A cast would cut it without a word and might name another row.

Columns that the UPDATE left in TOAST untouched do not arrive and are left out of SET. GENERATED ALWAYS AS
IDENTITY columns cannot be in SET at all, and one that says which chunk of a hypertable a row is in may not
change there: one that is part of an unchanged key is left out, any other makes the update a delete and an
insert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from psycopg import sql

from engine.catalog.table import TableName
from engine.errors import Failure, Retry, Side, TableError
from engine.replication.protocol import UNCHANGED, Relation, Row
from engine.replication.target_table import TargetColumn, TargetTable, match_columns

_TEXT_OID = 25

_STATEMENT_FORMS = 256
"""Statements remembered per table and kind: one for each mix of unchanged columns that occurs."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with ``$n`` placeholders."""

    text: str
    types: tuple[int, ...]


def _placeholder(number: int) -> sql.SQL:
    return sql.SQL(f"${number}")


def _joined(parts: Sequence[sql.Composable], separator: str = ", ") -> sql.Composed:
    return sql.SQL(separator).join(parts)


class ChangeStatements:
    """Statements and values for one source relation written into one target table."""

    def __init__(self, relation: Relation, table: TargetTable) -> None:
        """Match the columns.

        Raises:
            TableError: The target lacks a published column.
        """
        self.relation = relation
        self.source_name = TableName(relation.schema, relation.table)
        self.table = table
        self._table = sql.Identifier(table.name.schema, table.name.table)
        self._rows = table.rows_of
        self._columns = match_columns(self.source_name, [column.name for column in relation.columns], table)
        self._by_position: dict[int, TargetColumn] = dict(self._columns)
        self._key = tuple(position for position, _ in self._columns if relation.columns[position].is_key)
        self.is_full = relation.replica_identity == "f"
        self._insert_form = self._build_insert()
        self._delete_form = lru_cache(maxsize=1)(self._build_delete)
        self._update_form = lru_cache(maxsize=_STATEMENT_FORMS)(self._build_update)

    @property
    def table_identifier(self) -> sql.Identifier:
        """The target table as INSERT and COPY name it."""
        return self._table

    @property
    def written_positions(self) -> tuple[int, ...]:
        """Columns of the stream that the target stores."""
        return tuple(position for position, _ in self._columns)

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Columns that name a row; empty when none do."""
        return self._key

    @property
    def settable_positions(self) -> tuple[int, ...]:
        """Columns an UPDATE that keeps the key may set."""
        return tuple(
            position
            for position, column in self._columns
            if position not in self._key and not column.is_identity_always
        )

    @property
    def allows_bulk_updates(self) -> bool:
        """Whether SET reaches every column outside the key."""
        return all(
            position in self._key or not column.is_set_by_replacing for position, column in self._columns
        )

    @property
    def unsent_columns(self) -> tuple[str, ...]:
        """Columns of the target that take values and for which none arrive: not published, or its own."""
        sent = {column.name for _, column in self._columns}
        return tuple(
            name
            for name, column in self.table.columns.items()
            if name not in sent and not column.is_generated
        )

    def column(self, position: int) -> TargetColumn:
        """Where a column of the stream lands."""
        return self._by_position[position]

    def names(self, positions: Sequence[int]) -> sql.Composed:
        """Target columns, separated by commas."""
        return _joined(self._names(positions))

    def insert(self, new: Row) -> tuple[Statement, list[bytes | None]]:
        """Insert ``new``."""
        return self._insert_form, self._values(new, [position for position, _ in self._columns])

    def delete(self, old: Row) -> tuple[Statement, list[bytes | None]]:
        """Delete exactly one row named by ``old``."""
        return self._delete_form(), self._values(old, self._identity_positions())

    def update(self, old: Row | None, new: Row) -> tuple[Statement, list[bytes | None]] | None:
        """Change exactly one row, named by ``old`` or, when its key did not change, by ``new``.

        Returns:
            None when no column that the target stores was sent: nothing changes.

        Raises:
            TableError: The key itself was left in TOAST, so the row cannot be named.
        """
        named_by = new if old is None else old
        changed = []
        replaces = False
        for position, column in self._columns:
            if new[position] is UNCHANGED:
                continue
            if column.is_set_by_replacing:
                if position in self._key and named_by[position] == new[position]:
                    continue
                replaces = True
            changed.append(position)
        if not changed:
            return None
        statement = self._update_form(tuple(changed), replaces)
        values = self._values(new, changed) + self._values(named_by, self._identity_positions())
        return statement, values

    def _identity_positions(self) -> tuple[int, ...]:
        if self._key:
            return self._key
        raise TableError(
            Failure(
                title=f"Table {self.source_name} has no replica identity, so the changed row cannot be named",
                hint="Give it a primary key or REPLICA IDENTITY FULL on the source, then retry the table",
                side=Side.SOURCE,
                retry=Retry.MANUAL,
            )
        )

    def _values(self, row: Row, positions: Sequence[int]) -> list[bytes | None]:
        values: list[bytes | None] = []
        for position in positions:
            value = row[position]
            if value is UNCHANGED:
                raise TableError(
                    Failure(
                        title=f"Table {self.source_name} has a replica identity column in TOAST that was "
                        "not sent, so the changed row cannot be named",
                        hint="Choose another replica identity for the table on the source (shorter key "
                        "columns, or REPLICA IDENTITY FULL), then retry the table",
                        side=Side.SOURCE,
                        retry=Retry.MANUAL,
                    )
                )
            values.append(value)
        return values

    def _types(self, positions: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._by_position[position].type_oid for position in positions)

    def _identity_types(self) -> tuple[int, ...]:
        return tuple(
            _TEXT_OID if self._by_position[position].has_modifier else self._by_position[position].type_oid
            for position in self._identity_positions()
        )

    def _stored_value(self, position: int, number: int) -> sql.Composable:
        """Placeholder ``number`` as the column stores it; its type is the one of :meth:`_identity_types`."""
        column = self._by_position[position]
        if not column.has_modifier:
            return _placeholder(number)
        # Of what an expression may contain only this calls the type's input function with its modifier.
        return sql.SQL(
            "(select stored.value from pg_catalog.json_to_record("
            "pg_catalog.json_build_object('value', {})) as stored(value {}))"
        ).format(_placeholder(number), sql.SQL(column.type_name))

    def _names(self, positions: Sequence[int]) -> list[sql.Identifier]:
        return [sql.Identifier(self._by_position[position].name) for position in positions]

    def _build_insert(self) -> Statement:
        positions = [position for position, _ in self._columns]
        if not positions:
            text = sql.SQL("insert into {} default values").format(self._table)
        else:
            text = sql.SQL("insert into {} ({}) overriding system value values ({})").format(
                self._table,
                _joined(self._names(positions)),
                _joined([_placeholder(number) for number in range(1, len(positions) + 1)]),
            )
        return Statement(text.as_string(None), self._types(positions))

    def _victim(self, first: int) -> sql.Composed:
        """The rows named by placeholders from ``first`` on, as a condition or, for full, one place."""
        positions = self._identity_positions()
        if self.is_full:
            return sql.SQL(
                "select tableoid as victim_table, ctid as victim_place from {} "
                "where row({})::record operator(pg_catalog.*=) row({})::record limit 1"
            ).format(
                self._rows,
                _joined(self._names(positions)),
                _joined(
                    [
                        self._stored_value(position, first + number)
                        for number, position in enumerate(positions)
                    ]
                ),
            )
        conditions = [
            sql.SQL("target.{} operator({}.=) {}").format(
                sql.Identifier(self._by_position[position].name),
                sql.Identifier(self._by_position[position].equality_schema),
                self._stored_value(position, first + number),
            )
            for number, position in enumerate(positions)
        ]
        return _joined(conditions, " and ")

    def _build_delete(self) -> Statement:
        return Statement(self._delete_text(1).as_string(None), self._identity_types())

    def _delete_text(self, first: int) -> sql.Composed:
        if self.is_full:
            return sql.SQL(
                "with victim as materialized ({}) delete from {} as target using victim "
                "where target.ctid = victim.victim_place and target.tableoid = victim.victim_table"
            ).format(self._victim(first), self._rows)
        return sql.SQL("delete from {} as target where {}").format(self._rows, self._victim(first))

    def _build_update(self, changed: tuple[int, ...], replaces: bool) -> Statement:
        types = self._types(changed) + self._identity_types()
        text = self._replace_text(changed) if replaces else self._update_text(changed)
        return Statement(text.as_string(None), types)

    def _update_text(self, changed: tuple[int, ...]) -> sql.Composed:
        assignments = _joined(
            [
                sql.SQL("{} = {}").format(name, _placeholder(number))
                for number, name in enumerate(self._names(changed), start=1)
            ]
        )
        victim = self._victim(len(changed) + 1)
        if self.is_full:
            return sql.SQL(
                "with victim as materialized ({}) update {} as target set {} from victim "
                "where target.ctid = victim.victim_place and target.tableoid = victim.victim_table"
            ).format(victim, self._rows, assignments)
        return sql.SQL("update {} as target set {} where {}").format(self._rows, assignments, victim)

    def _replace_text(self, changed: tuple[int, ...]) -> sql.Composed:
        """Delete the row and insert it with the new values, keeping what was not sent."""
        sent = {position: number for number, position in enumerate(changed, start=1)}
        positions = [position for position, _ in self._columns]
        unsent = [sql.Identifier(name) for name in self.unsent_columns]
        names = [*self._names(positions), *unsent]
        values: list[sql.Composable] = [
            _placeholder(sent[position])
            if position in sent
            else sql.SQL("gone.{}").format(sql.Identifier(self._by_position[position].name))
            for position in positions
        ]
        values += [sql.SQL("gone.{}").format(name) for name in unsent]
        gone = self._delete_text(len(changed) + 1)
        # A statement's parts see the same snapshot, so the insert may meet the old row's key only if the
        # key is unchanged; unique checks then find it deleted by the same transaction.
        if self.is_full:
            return sql.SQL(
                "with victim as materialized ({}), gone as (delete from {} as target using victim "
                "where target.ctid = victim.victim_place and target.tableoid = victim.victim_table "
                "returning target.*) insert into {} ({}) overriding system value select {} from gone"
            ).format(
                self._victim(len(changed) + 1),
                self._rows,
                self._table,
                _joined(names),
                _joined(values),
            )
        return sql.SQL(
            "with gone as ({} returning target.*) "
            "insert into {} ({}) overriding system value select {} from gone"
        ).format(gone, self._table, _joined(names), _joined(values))
