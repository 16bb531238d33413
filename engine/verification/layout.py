"""How the rows of a group are read on either side: relations, columns, key. Read in the snapshots, so that it
is what the rows looked like then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import EngineError, Failure, Retry, Side
from engine.verification.groups import Group

_FIRST_USER_OID = 16384

_CHAR = 18
"""The type "char". Since 16 a byte outside ASCII is written as an octal escape (release notes, E.13)."""

_CHAR_ARRAY = 1002

_TEXTS = (25, 1043)
"""text and varchar, which keep what the source wrote."""

RANGE_BYTES = 32 * 1024 * 1024
"""Smallest range, TOAST included: a quarter of a second's work."""

_MOST_RANGES = 256
"""Of one relation: what each range sends back is small beside it."""

_TID_RANGE_SCAN_VERSION = 140000

_COLUMNS = """
select a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  -- A table may have no columns.
  left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p')
 order by a.attnum
"""

_KEY = """
select pg_catalog.array_agg(a.attname::text order by place.number)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_index i on i.indrelid = c.oid
 cross join lateral pg_catalog.unnest(i.indkey::int2[]) with ordinality as place (attnum, number)
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = place.attnum
 where n.nspname = %s and c.relname = %s
   and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
   and place.number <= i.indnkeyatts
 group by i.indexrelid, i.indisprimary, i.indisreplident
having pg_catalog.bool_and(a.attnotnull)
 order by i.indisprimary desc, i.indisreplident desc, i.indexrelid
 limit 1
"""

# Partitions and chunks are looked up in the snapshot; functions tell of this moment, and take the lock of
# what they look at for as long as the statement's savepoint lives.
_RELATIONS = """
with recursive tree (oid, relkind, is_root) as (
    select c.oid, c.relkind, true
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p')
    union all
    select child.oid, child.relkind, false
      from tree
      join pg_catalog.pg_inherits i on i.inhparent = tree.oid
      join pg_catalog.pg_class child on child.oid = i.inhrelid
      join pg_catalog.pg_namespace s on s.oid = child.relnamespace
     where tree.relkind = 'p'
        -- A hypertable's rows are in its chunks, which inherit from it.
        or pg_catalog.starts_with(s.nspname::text, '_timescaledb')
)
select c.oid::int8, n.nspname, c.relname, c.relkind::text, tree.is_root, coalesce(am.amname, '') = 'heap',
       pg_catalog.has_table_privilege(c.oid, 'select') and not pg_catalog.row_security_active(c.oid),
       coalesce(pg_catalog.pg_table_size(c.oid), 0),
       coalesce(pg_catalog.pg_relation_size(c.oid), 0)
           / pg_catalog.current_setting('block_size')::int8
  from tree
  join pg_catalog.pg_class c using (oid)
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_am am on am.oid = c.relam
 order by tree.is_root desc, c.oid
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as one side has it."""

    name: str
    type_oid: int
    type_name: str
    """As DDL would write it, with its modifier."""

    is_generated: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that one statement reads."""

    rows: sql.Composed
    """For the FROM clause."""

    conditions: tuple[sql.Composable, ...]
    oids: tuple[int, ...]
    """The relations that are read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one side's rows of one table are read."""

    side: Side
    name: TableName
    columns: tuple[sql.Composable, ...]
    """What is compared, in the order both sides have in common."""

    key: tuple[sql.Composable, ...]
    """Those of them that name a row; empty without a key."""

    key_is_builtin: bool
    """Whether PostgreSQL's own operators compare the key, so that its index can be used."""

    whole: Part
    parts: tuple[Part, ...]
    """Each row of ``whole`` is in one of them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a group is compared."""

    sources: tuple[Reading, ...]
    target: Reading
    key_columns: tuple[str, ...]
    source_only_columns: tuple[str, ...]
    target_only_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    name: TableName
    columns: tuple[Column, ...]
    whole: Part
    parts: tuple[Part, ...]

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


def read_layout(source: Session, target: Session, group: Group) -> Layout:
    """Read how ``group`` is compared.

    Published columns are, and what the source computes from published rows, where the target has a column of
    that name.

    Args:
        source: In the source's snapshot.
        target: In the target's.
        group: What is compared.

    Raises:
        EngineError: A side cannot be read, or does not have the table.
    """
    target_table = _read_table(target, Side.TARGET, group.target)
    source_tables = [_read_table(source, Side.SOURCE, member.name) for member in group.sources]
    wanted: list[str] = []
    known: set[str] = set()
    for member, table in zip(group.sources, source_tables, strict=True):
        known.update(member.columns)
        names = _compared_names(table, member.columns)
        # A table of a group that publishes less leaves the rest to the target's defaults.
        wanted = [name for name in wanted if name in names] if wanted else names
    columns = [name for name in wanted if target_table.column(name) is not None]
    key = _common_key(source, group, columns)
    return Layout(
        sources=tuple(
            _reading(Side.SOURCE, table, target_table, columns, key, row_filter=member.row_filter)
            for member, table in zip(group.sources, source_tables, strict=True)
        ),
        target=_reading(Side.TARGET, target_table, target_table, columns, key, row_filter=None),
        key_columns=key,
        source_only_columns=tuple(sorted(name for name in known if target_table.column(name) is None)),
        target_only_columns=tuple(
            column.name for column in target_table.columns if column.name not in columns
        ),
    )


def _compared_names(table: _Table, published: Sequence[str]) -> list[str]:
    publishes_all = all(column.is_generated or column.name in published for column in table.columns)
    return [
        column.name
        for column in table.columns
        if column.name in published or (publishes_all and column.is_generated)
    ]


def _read_table(session: Session, side: Side, name: TableName) -> _Table:
    try:
        columns = session.execute(_COLUMNS, (name.schema, name.table)).fetchall()
        relations = session.execute(_RELATIONS, (name.schema, name.table)).fetchall()
    except psycopg.Error as error:
        raise explain(error, side, f"reading the columns of {name}") from None
    if not columns:
        raise EngineError(
            Failure(f"The {side.value} does not have the table {name}", side=side, retry=Retry.MANUAL)
        )
    whole, parts = _parts(relations, session.info.server_version)
    return _Table(
        name,
        tuple(
            Column(str(column), int(str(oid)), str(type_name), bool(is_generated))
            for column, oid, type_name, is_generated in columns
            if column is not None
        ),
        whole,
        parts,
    )


def _parts(relations: Sequence[tuple[object, ...]], server_version: int) -> tuple[Part, tuple[Part, ...]]:
    """The whole table, and the same cut into ranges."""
    root = relations[0]
    only = sql.SQL("" if len(relations) > 1 or root[3] == "p" else "only ")
    with_storage = tuple(int(str(row[0])) for row in relations if row[3] != "p")
    whole = Part(sql.Composed([only, sql.Identifier(str(root[1]), str(root[2]))]), (), with_storage)
    parts: list[Part] = []
    for oid, schema, name, kind, _, is_heap, is_readable, size_bytes, pages in relations:
        if kind == "p":
            continue
        if not is_heap or not is_readable or (root[3] != "p" and len(relations) > 1):
            # Only through the root: a hypertable, a partition of another kind, or one that we may not read.
            return whole, (whole,)
        rows = sql.Composed([sql.SQL("only "), sql.Identifier(str(schema), str(name))])
        count = 1
        if server_version >= _TID_RANGE_SCAN_VERSION:
            count = min(int(str(pages)), int(str(size_bytes)) // RANGE_BYTES, _MOST_RANGES)
        parts += [
            Part(rows, condition, (int(str(oid)),)) for condition in _page_ranges(int(str(pages)), count)
        ]
    return whole, tuple(parts)


def _page_ranges(pages: int, count: int) -> list[tuple[sql.Composable, ...]]:
    """Conditions that each row meets one of, open at both ends."""
    borders = [pages * number // count for number in range(1, count)]
    conditions: list[tuple[sql.Composable, ...]] = []
    above: tuple[sql.Composable, ...] = ()
    for page in borders:
        tid = sql.SQL("'({},0)'::pg_catalog.tid").format(sql.SQL(str(page)))
        conditions.append((*above, sql.SQL("ctid < {}").format(tid)))
        above = (sql.SQL("ctid >= {}").format(tid),)
    conditions.append(above)
    return conditions


def _common_key(source: Session, group: Group, columns: Sequence[str]) -> tuple[str, ...]:
    keys = set()
    for member in group.sources:
        try:
            row = source.execute(_KEY, (member.name.schema, member.name.table)).fetchone()
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, f"reading the keys of {member.name}") from None
        keys.add(tuple(str(name) for name in row[0]) if row is not None and isinstance(row[0], list) else ())
    key = keys.pop() if len(keys) == 1 else ()
    return key if set(key) <= set(columns) else ()


def _reading(
    side: Side,
    table: _Table,
    target: _Table,
    columns: Sequence[str],
    key: Sequence[str],
    *,
    row_filter: str | None,
) -> Reading:
    expressions = {}
    key_is_builtin = True
    for name in columns:
        own, wanted = table.column(name), target.column(name)
        assert own is not None
        assert wanted is not None
        expressions[name] = _comparable(own, wanted)
        if name in key:
            key_is_builtin = key_is_builtin and own == wanted and own.type_oid < _FIRST_USER_OID
    # The source's own text of the publication's condition, as pg_get_expr wrote it.
    filters = () if row_filter is None else (sql.SQL("({})").format(sql.SQL(row_filter)),)
    return Reading(
        side=side,
        name=table.name,
        columns=tuple(expressions[name] for name in columns),
        key=tuple(expressions[name] for name in key),
        key_is_builtin=key_is_builtin,
        whole=_filtered(table.whole, filters),
        parts=tuple(_filtered(part, filters) for part in table.parts),
    )


def _filtered(part: Part, filters: tuple[sql.Composable, ...]) -> Part:
    return Part(part.rows, (*filters, *part.conditions), part.oids)


def _comparable(own: Column, wanted: Column) -> sql.Composable:
    """A column's value in a form whose text is the same on both sides when the value is."""
    column = sql.Identifier(own.name)
    if own.type_oid == _CHAR:
        return sql.SQL("{}::pg_catalog.int4").format(column)
    if own.type_oid == _CHAR_ARRAY:
        return sql.SQL("{}::pg_catalog.int4[]").format(column)
    keeps_text = wanted.type_oid in _TEXTS or wanted.type_oid >= _FIRST_USER_OID
    if own.type_name == wanted.type_name or keeps_text:
        return column
    # What the replication does: the source's text is read by the type of the target.
    return sql.SQL("case when {0} is not null then pg_catalog.format('%s', {0})::{1} end").format(
        column, sql.SQL(wanted.type_name)
    )
