"""What the target knows of one table, and how a source relation's columns land in it.

Columns are matched by name. A column that the target computes (GENERATED ALWAYS AS … STORED) is left to
it. A published column that the target does not have is the table's error: dropping values silently is
not an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from engine.catalog.table import TableName, quote_identifier
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Failure, Retry, Side, TableError

_COLUMNS = """
select a.attname, a.atttypid,
       pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypmod >= 0,
       a.attgenerated <> '', a.attidentity = 'a', c.relkind = 'p',
       a.attnotnull and not a.atthasdef and a.attidentity = '',
       column_type.typtype = 'e',
       (select pg_catalog.to_regclass('_timescaledb_catalog.dimension') is not null),
       -- Equality of the type's own B-tree class, where that is not a built-in one (citext, …).
       (select operator_schema.nspname
          from pg_catalog.pg_type t
          join pg_catalog.pg_opclass class
            on class.opcintype = case when t.typtype = 'd' then t.typbasetype else t.oid end
           and class.opcdefault
           and class.opcmethod = (select oid from pg_catalog.pg_am where amname = 'btree')
          join pg_catalog.pg_amop member
            on member.amopfamily = class.opcfamily and member.amopstrategy = 3
           and member.amoplefttype = class.opcintype and member.amoprighttype = class.opcintype
          join pg_catalog.pg_operator operator on operator.oid = member.amopopr
          join pg_catalog.pg_namespace operator_schema on operator_schema.oid = operator.oprnamespace
         where t.oid = a.atttypid)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  -- A table may have no columns.
  left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_catalog.pg_type column_type on column_type.oid = a.atttypid
 where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p')
 order by a.attnum
"""

_UNIQUE_KEYS = """
select pg_catalog.array_agg(a.attname::text)
  from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
 where n.nspname = %s and c.relname = %s
   and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
 group by i.indexrelid
"""


_DIMENSIONS = """
select d.column_name::text
  from _timescaledb_catalog.hypertable h
  join _timescaledb_catalog.dimension d on d.hypertable_id = h.id
 where h.schema_name = %s and h.table_name = %s
"""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """One column of a target table."""

    name: str
    type_oid: int
    type_name: str
    """As DDL would write it."""

    has_modifier: bool
    """The type carries a length, precision or scale that the oid alone does not tell."""

    is_generated: bool
    is_identity_always: bool
    equality_schema: str
    """Where the type's equality operator lives; search_path is empty, so it must be named."""

    is_required: bool
    """It takes no row that does not bring a value for it."""

    is_enum: bool
    is_dimension: bool = False
    """It says which chunk of a hypertable a row is in, and UPDATE moves no row to another chunk."""

    @property
    def is_set_by_replacing(self) -> bool:
        """Whether a row gets another value only when it is deleted and inserted."""
        return self.is_identity_always or self.is_dimension


@dataclass(frozen=True, slots=True)
class TargetTable:
    """One table of the target."""

    name: TableName
    is_partitioned: bool
    """Whether its rows are in other tables: those of partitions, or of a hypertable's chunks."""

    columns: dict[str, TargetColumn]
    unique_keys: tuple[frozenset[str], ...] = ()
    """Column sets of its valid, complete unique indexes over plain columns."""

    def has_key_index(self, columns: Sequence[str]) -> bool:
        """Whether an index finds a row by ``columns``."""
        return any(key <= set(columns) for key in self.unique_keys)

    @property
    def rows_of(self) -> sql.Composed:
        """The table as statements that find rows name it: without the children of plain inheritance,
        whose changes arrive under their own names, but with the partitions of a partitioned table."""
        only = sql.SQL("") if self.is_partitioned else sql.SQL("only ")
        return sql.Composed([only, sql.Identifier(self.name.schema, self.name.table)])


def missing_table_error(source: TableName, target: TableName) -> TableError:
    """The error of a table that has no counterpart."""
    return TableError(
        Failure(
            title=f"Table {target} does not exist on the target (needed for {source})",
            hint="Restore the schema of this table on the target, or map it with --table-map, then retry",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def read_target_table(target: Session, source_name: TableName, target_name: TableName) -> TargetTable:
    """Read one table's columns from the target.

    Raises:
        TableError: The table does not exist.
        EngineError: The target could not be read.
    """
    try:
        rows = target.execute(_COLUMNS, (target_name.schema, target_name.table)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, f"reading the columns of {target_name}") from None
    if not rows:
        raise missing_table_error(source_name, target_name)
    columns = {}
    is_partitioned = False
    dimensions = _read_dimensions(target, target_name) if rows[0][9] is True else frozenset[str]()
    for (
        name,
        type_oid,
        type_name,
        has_modifier,
        is_generated,
        is_identity_always,
        partitioned,
        is_required,
        is_enum,
        _,
        equality_schema,
    ) in rows:
        is_partitioned = bool(partitioned) or bool(dimensions)
        if name is None:
            continue
        columns[str(name)] = TargetColumn(
            name=str(name),
            type_oid=int(str(type_oid)),
            type_name=str(type_name),
            has_modifier=bool(has_modifier),
            is_generated=bool(is_generated),
            is_identity_always=bool(is_identity_always),
            equality_schema=str(equality_schema or "pg_catalog"),
            is_required=bool(is_required),
            is_enum=bool(is_enum),
            is_dimension=str(name) in dimensions,
        )
    return TargetTable(target_name, is_partitioned, columns, _read_unique_keys(target, target_name))


def _read_dimensions(target: Session, name: TableName) -> frozenset[str]:
    """Columns that cut a hypertable into chunks; none of any other table."""
    try:
        rows = target.execute(_DIMENSIONS, (name.schema, name.table)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, f"reading the dimensions of {name}") from None
    return frozenset(str(column) for (column,) in rows)


def _read_unique_keys(target: Session, name: TableName) -> tuple[frozenset[str], ...]:
    try:
        rows = target.execute(_UNIQUE_KEYS, (name.schema, name.table)).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, f"reading the indexes of {name}") from None
    return tuple(
        frozenset(str(column) for column in columns) for (columns,) in rows if isinstance(columns, list)
    )


def match_columns(
    source_name: TableName, source_columns: Sequence[str], table: TargetTable
) -> tuple[tuple[int, TargetColumn], ...]:
    """Pair each source column that has to be written with its target column.

    Args:
        source_name: For the message.
        source_columns: Names in stream order.
        table: The target table.

    Returns:
        Pairs of position in ``source_columns`` and target column; columns the target generates are left out.

    Raises:
        TableError: The target lacks some of the columns.
    """
    missing = [name for name in source_columns if name not in table.columns]
    if missing:
        listed = ", ".join(quote_identifier(name) for name in missing)
        raise TableError(
            Failure(
                title=f"Target table {table.name} has no column {listed} (published by {source_name})",
                hint="Add it to the target table with the type it has on the source, then retry the table",
                side=Side.TARGET,
                retry=Retry.MANUAL,
            )
        )
    return tuple(
        (position, table.columns[name])
        for position, name in enumerate(source_columns)
        if not table.columns[name].is_generated
    )


def empty_tables(target: Session, tables: Sequence[TargetTable], *, restart_identity: bool) -> None:
    """Remove all rows of ``tables`` together, inside the open transaction.

    TRUNCATE refuses a table that another one references, even where foreign keys are not enforced; then
    the rows are deleted.

    Raises:
        psycopg.Error: The target refused both.
    """
    rows = [table.rows_of for table in tables]
    truncate = sql.SQL("truncate {}{}").format(
        sql.SQL(", ").join(rows), sql.SQL(" restart identity") if restart_identity else sql.SQL("")
    )
    try:
        with target.transaction():
            target.execute(truncate)
    except psycopg.errors.FeatureNotSupported:
        for table_rows in rows:
            target.execute(sql.SQL("delete from {}").format(table_rows))
