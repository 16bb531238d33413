"""Carries sequences over: logical replication does not, and a sequence that starts at 1 again hands out
values that are taken.

A sequence that belongs to a column follows its table to the column's sequence on the target; any other is
found by its name. Statements are sent many at a time, because this runs while the application waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.table import TableName, quote_identifier
from engine.catalog.table_map import TableMap
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.cutover.outcome import SequenceOutcome
from engine.errors import Side

_SEQUENCES = """
select c.oid, n.nspname::text as schema, c.relname::text as name,
       s.seqincrement as increment, s.seqcycle as cycles,
       owner_schema.nspname::text as owner_schema, owner.relname::text as owner_table,
       a.attname::text as owner_column,
       -- Of a domain, the type below it.
       coalesce(coalesce(nullif(t.typbasetype, 0), t.oid) in (
           'pg_catalog.int2'::pg_catalog.regtype,
           'pg_catalog.int4'::pg_catalog.regtype,
           'pg_catalog.int8'::pg_catalog.regtype), false) as owner_is_integer
  from pg_catalog.pg_sequence s
  join pg_catalog.pg_class c on c.oid = s.seqrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  -- "a" is OWNED BY (serial too), "i" an identity column.
  left join pg_catalog.pg_depend d
         on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.objsubid = 0
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0
        and d.deptype in ('a', 'i')
  left join pg_catalog.pg_class owner on owner.oid = d.refobjid
  left join pg_catalog.pg_namespace owner_schema on owner_schema.oid = owner.relnamespace
  left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  left join pg_catalog.pg_type t on t.oid = a.atttypid
 where c.relpersistence <> 't'
   and n.nspname not in ('information_schema', '_ts_live_sync')
   and not pg_catalog.starts_with(n.nspname::text, 'pg_')
   and not pg_catalog.starts_with(n.nspname::text, '_timescaledb')
   and not pg_catalog.starts_with(n.nspname::text, 'timescaledb_')
   and not exists (
       select from pg_catalog.pg_depend e
        where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid
          and e.deptype = 'e')
 order by n.nspname, c.relname
"""

_DRAWN_FROM = """
select d.refobjid as sequence_oid, n.nspname::text as schema, c.relname::text as table_name,
       a.attname::text as column_name
  from pg_catalog.pg_depend d
  join pg_catalog.pg_attrdef e on e.oid = d.objid
  join pg_catalog.pg_class c on c.oid = e.adrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = e.adrelid and a.attnum = e.adnum
  join pg_catalog.pg_type t on t.oid = a.atttypid
 where d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
   and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
   and exists (select from pg_catalog.pg_sequence s where s.seqrelid = d.refobjid)
   and coalesce(nullif(t.typbasetype, 0), t.oid) in (
           'pg_catalog.int2'::pg_catalog.regtype,
           'pg_catalog.int4'::pg_catalog.regtype,
           'pg_catalog.int8'::pg_catalog.regtype)
   -- Partitions have the default of the table they belong to, and their rows are looked at with it.
   and not c.relispartition
 order by d.refobjid, n.nspname, c.relname, a.attnum
"""
"""Integer columns whose default draws from a sequence, whoever owns it."""

_READ = "select {number}, last_value, is_called from {sequence}"

_SET = "select {number}, pg_catalog.setval({oid}::oid::pg_catalog.regclass, {value}, {is_called}), true"

_FURTHEST = "select {number}, pg_catalog.{extreme}({column})::int8, true from {table}"
"""With children and partitions: they use the sequence too."""

_STATEMENTS_AT_ONCE = 100

_NEVER_READ = "The sequence's position on the source could not be read"


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One sequence as a side's catalogs describe it."""

    oid: int
    schema: str
    name: str
    increment: int
    cycles: bool
    owner_schema: str | None
    owner_table: str | None
    owner_column: str | None
    owner_is_integer: bool

    @property
    def qualified_name(self) -> TableName:
        return TableName(self.schema, self.name)

    @property
    def owner(self) -> tuple[TableName, str] | None:
        """Table and column it belongs to."""
        if self.owner_schema is None or self.owner_table is None or self.owner_column is None:
            return None
        return TableName(self.owner_schema, self.owner_table), self.owner_column


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a sequence is."""

    last_value: int
    is_called: bool

    def next_value(self, increment: int) -> int:
        return self.last_value + increment if self.is_called else self.last_value


_Answer = _Position | str | None
"""A position, why there is none, or None where a table has no rows."""


def copy_sequences(
    source: Session, target: Session, table_map: TableMap, *, sets: bool = True
) -> tuple[SequenceOutcome, ...]:
    """Set every sequence of the target to where its counterpart on the source is.

    Then a sequence that does not cycle is compared with the integer columns on the target that draw from it:
    the one that owns it, and all whose default names it. If it would hand out a value at or before the
    furthest one, in the direction of its increment, it is moved there, and the outcome's ``note`` says so.
    Running it twice does no harm.

    Args:
        source: A session on the source, where nothing draws from the sequences any more.
        target: A session on the target.
        table_map: Where tables and schemas land.
        sets: False to find out what would be set and how long that takes, and set nothing.

    Returns:
        One outcome per sequence of the source, sorted by name. A sequence that is missing or refuses the
        value has a ``problem``.

    Raises:
        EngineError: The catalogs of a side could not be read, or a connection was lost.
    """
    sequences = _read_catalog(source, Side.SOURCE)
    on_target = _Targets(_read_catalog(target, Side.TARGET))
    counterparts = [on_target.find(sequence, table_map) for sequence in sequences]
    positions = _run(
        source,
        Side.SOURCE,
        [
            sql.SQL(_READ).format(
                number=sql.Literal(number), sequence=sql.Identifier(sequence.schema, sequence.name)
            )
            for number, sequence in enumerate(sequences)
        ],
    )

    wanted: dict[_Sequence, _Position] = {}
    for counterpart, position in zip(counterparts, positions, strict=True):
        if isinstance(counterpart, _Sequence) and isinstance(position, _Position):
            wanted[counterpart] = _furthest(counterpart, position, wanted.get(counterpart))
    problems = _set(target, wanted) if sets else {}
    notes = _move_past_data(target, wanted, problems, sets=sets)

    outcomes = []
    for sequence, counterpart, position in zip(sequences, counterparts, positions, strict=True):
        name = str(sequence.qualified_name)
        if isinstance(counterpart, TableName):
            problem: str | None = f"The target has no sequence {counterpart}"
            outcomes.append(SequenceOutcome(name, str(counterpart), None, False, problem))
            continue
        target_name = str(counterpart.qualified_name)
        problem = problems.get(counterpart) if isinstance(position, _Position) else position or _NEVER_READ
        if problem is not None:
            outcomes.append(SequenceOutcome(name, target_name, None, False, problem))
            continue
        now = wanted[counterpart]
        note = notes.get(counterpart)
        outcomes.append(SequenceOutcome(name, target_name, now.last_value, now.is_called, None, note))
    return tuple(outcomes)


class _Targets:
    """The target's sequences, to be found by name or by column."""

    def __init__(self, sequences: Sequence[_Sequence]) -> None:
        self._by_name = {sequence.qualified_name: sequence for sequence in sequences}
        self._by_owner: dict[tuple[TableName, str], list[_Sequence]] = {}
        for sequence in sequences:
            if sequence.owner is not None:
                self._by_owner.setdefault(sequence.owner, []).append(sequence)

    def find(self, sequence: _Sequence, table_map: TableMap) -> _Sequence | TableName:
        """The counterpart of a source sequence, or the name under which there is none."""
        name = TableName(table_map.schema_of(sequence.schema), sequence.name)
        if sequence.owner is not None:
            table, column = sequence.owner
            candidates = self._by_owner.get((table_map.target_of(table), column), [])
            # A column may own several; the one of the same name is meant then.
            same_name = [candidate for candidate in candidates if candidate.name == sequence.name]
            if candidates:
                return (same_name or candidates)[0]
        return self._by_name.get(name, name)


def _read_catalog(session: Session, side: Side) -> list[_Sequence]:
    try:
        with session.cursor(row_factory=class_row(_Sequence)) as cursor:
            return cursor.execute(_SEQUENCES).fetchall()
    except psycopg.Error as error:
        raise explain(error, side, "reading the list of sequences") from None


def _furthest(sequence: _Sequence, one: _Position, other: _Position | None) -> _Position:
    """Of two source sequences that land in one, the position both have passed."""
    if other is None:
        return one
    direction = 1 if sequence.increment > 0 else -1
    return max(one, other, key=lambda position: direction * position.next_value(sequence.increment))


def _set(target: Session, wanted: dict[_Sequence, _Position]) -> dict[_Sequence, str]:
    """Set sequences; what was refused, with the reason."""
    statements = [
        sql.SQL(_SET).format(
            number=sql.Literal(number),
            oid=sql.Literal(sequence.oid),
            value=sql.Literal(position.last_value),
            is_called=sql.Literal(position.is_called),
        )
        for number, (sequence, position) in enumerate(wanted.items())
    ]
    answers = _run(target, Side.TARGET, statements)
    return {
        sequence: answer for sequence, answer in zip(wanted, answers, strict=True) if isinstance(answer, str)
    }


def _columns_of(target: Session) -> dict[int, list[tuple[TableName, str]]]:
    """By sequence, the columns whose default draws from it."""
    try:
        rows = target.execute(_DRAWN_FROM).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading which columns draw from sequences") from None
    columns: dict[int, list[tuple[TableName, str]]] = {}
    for oid, schema, table, column in rows:
        columns.setdefault(int(str(oid)), []).append((TableName(str(schema), str(table)), str(column)))
    return columns


def _move_past_data(
    target: Session,
    wanted: dict[_Sequence, _Position],
    problems: dict[_Sequence, str],
    *,
    sets: bool,
) -> dict[_Sequence, str]:
    """Move sequences that are behind a column, update ``wanted``, and say what was done."""
    columns = _columns_of(target)
    checked: list[tuple[_Sequence, tuple[TableName, str]]] = []
    for sequence in wanted:
        if sequence.cycles or sequence in problems:
            continue
        owner = [sequence.owner] if sequence.owner is not None and sequence.owner_is_integer else []
        checked += [(sequence, one) for one in dict.fromkeys(owner + columns.get(sequence.oid, []))]
    answers = _run(
        target,
        Side.TARGET,
        [
            sql.SQL(_FURTHEST).format(
                number=sql.Literal(number),
                extreme=sql.SQL("max" if sequence.increment > 0 else "min"),
                column=sql.Identifier(column),
                table=sql.Identifier(table.schema, table.table),
            )
            for number, (sequence, (table, column)) in enumerate(checked)
        ],
    )
    notes: dict[_Sequence, str] = {}
    behind: dict[_Sequence, _Position] = {}
    for (sequence, (table, column)), answer in zip(checked, answers, strict=True):
        shown = f"{table}.{quote_identifier(column)}"
        if isinstance(answer, str):
            notes[sequence] = f"It could not be compared with {shown}: {answer}"
        elif answer is not None and _is_behind(
            sequence, behind.get(sequence, wanted[sequence]), answer.last_value
        ):
            behind[sequence] = answer
            notes[sequence] = (
                f"The source's value {wanted[sequence].last_value} is behind the rows of {shown}; "
                f"it was set to {answer.last_value}"
            )
    for sequence, refused in _set(target, behind).items() if sets else ():
        del behind[sequence]
        notes[sequence] = f"It is behind the rows of its table and could not be moved: {refused}"
    wanted.update(behind)
    return notes


def _is_behind(sequence: _Sequence, position: _Position, furthest: int) -> bool:
    next_value = position.next_value(sequence.increment)
    return next_value <= furthest if sequence.increment > 0 else next_value >= furthest


def _run(session: Session, side: Side, statements: Sequence[sql.Composed]) -> list[_Answer]:
    """Run statements of the shape ``number, value, flag`` many at a time.

    When a batch is refused, its statements run one by one, so that each gets its own answer. Nothing here
    is transactional, and every statement may run twice.
    """
    answers: list[_Answer] = [None] * len(statements)
    for start in range(0, len(statements), _STATEMENTS_AT_ONCE):
        batch = statements[start : start + _STATEMENTS_AT_ONCE]
        refusal = _answer_batch(session, side, batch, answers)
        if refusal is None:
            continue
        for number, statement in enumerate(batch, start):
            refusal = _answer_batch(session, side, [statement], answers)
            if refusal is not None:
                answers[number] = refusal
    return answers


def _answer_batch(
    session: Session, side: Side, batch: Sequence[sql.Composed], answers: list[_Answer]
) -> str | None:
    """Fill in the answers of one batch, or return why it was refused.

    Raises:
        EngineError: The connection was lost.
    """
    try:
        rows = session.execute(sql.SQL(" union all ").join(batch)).fetchall()
    except psycopg.Error as error:
        if is_connection_loss(error):
            raise explain(error, side, "carrying the sequences over") from None
        return message_of(error)
    for number, value, flag in rows:
        if value is not None:
            answers[int(str(number))] = _Position(int(str(value)), bool(flag))
    return None
