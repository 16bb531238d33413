"""What the copy of a chunk needs beyond that of a table.

A snapshot does not hold a chunk still: whether rows of it are written in columns is read as of now, and
compressing writes rows that older snapshots see as well. So a copy during which a chunk was compressed,
decompressed or recompressed may have too few or too many rows, and is done again.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import ConnectionFailedError, Failure, Retry, Side, TableError
from engine.replication.publication import PublishedTable
from engine.replication.target_table import TargetTable

# Since 2.29 chunks are listed by oid. Each change of a chunk's state writes its line anew.
_HAS_OID = """
select exists (select from pg_catalog.pg_attribute a
                where a.attrelid = '_timescaledb_catalog.chunk'::pg_catalog.regclass
                  and a.attname = 'relid' and not a.attisdropped)
"""

_VERSION_BY_OID = """
select k.xmin::text from _timescaledb_catalog.chunk k where k.relid = %(oid)s::oid::pg_catalog.regclass
"""

_VERSION_BY_NAME = """
select k.xmin::text
  from _timescaledb_catalog.chunk k
  join pg_catalog.pg_namespace n on n.nspname = k.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = k.table_name
 where c.oid = %(oid)s::oid
"""

# Whoever compresses holds one of these, reads and changes of rows do not.
_IS_AT_WORK = """
select exists (
    select from pg_catalog.pg_locks l
      join pg_catalog.pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'relation' and l.relation = %(oid)s::oid and l.granted
       and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
       and l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
       and a.backend_type <> 'autovacuum worker')
"""


@dataclass(frozen=True, slots=True)
class ChunkVersion:
    """How a chunk is stored at one moment."""

    version: str | None
    is_at_work: bool
    """Whether somebody may be changing that."""


def read_version(source: Session, oid: int) -> ChunkVersion:
    """How a chunk is stored now.

    Args:
        source: Outside of any transaction.
        oid: Of the chunk.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        has_oid = source.execute(_HAS_OID).fetchone() == (True,)
        values = {"oid": oid}
        at_work = source.execute(_IS_AT_WORK, values).fetchone() == (True,)
        row = source.execute(_VERSION_BY_OID if has_oid else _VERSION_BY_NAME, values).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading how a chunk is stored") from None
    return ChunkVersion(None if row is None else str(row[0]), at_work)


def require_same_version(table: PublishedTable, before: ChunkVersion, after: ChunkVersion) -> None:
    """Refuse rows that were read while the chunk was compressed or decompressed.

    Raises:
        ConnectionFailedError: Another try is needed.
    """
    if before == after and not after.is_at_work and after.version is not None:
        return
    raise ConnectionFailedError(
        Failure(
            title=f"The chunk {table.name} was compressed or decompressed while it was copied",
            hint="Nothing to do, it is copied again; pausing the policies of its hypertable makes that rarer",
            side=Side.SOURCE,
            retry=Retry.TIMED,
        )
    )


def require_no_rows(target: Session, table: PublishedTable, target_table: TargetTable) -> None:
    """Refuse to copy a chunk where the target has rows in its range.

    Raises:
        TableError: There are some.
        EngineError: The target could not be read.
    """
    condition = _condition(table)
    if condition is None:
        return
    statement = sql.SQL("select 1 from {} where {} limit 1").format(target_table.rows_of, condition)
    try:
        occupied = target.execute(statement).fetchone()
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName):
        return  # The target is no hypertable and knows no hashes of TimescaleDB's.
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, f"looking into {target_table.name}") from None
    if occupied is not None:
        raise TableError(
            Failure(
                title=f"Target table {target_table.name} already holds rows in the range of {table.name}",
                hint="Copying into it would double them: delete those rows, then retry the chunk",
                side=Side.TARGET,
            )
        )


def delete_rows(target: Session, table: PublishedTable, target_table: TargetTable) -> None:
    """Delete what an earlier copy of a chunk brought, inside the open transaction.

    Raises:
        TableError: Its rows cannot be told from those of other chunks.
        EngineError: The target refused.
    """
    condition = _condition(table)
    failure = Failure(
        title=f"The rows of {table.name} in {target_table.name} cannot be told from those of other chunks",
        hint="Take the hypertable out of the publication, refresh-publication, empty the target table, put "
        "it in again, refresh-publication",
        side=Side.TARGET,
    )
    if condition is None:
        raise TableError(failure)
    statement = sql.SQL("delete from {} where {}").format(target_table.rows_of, condition)
    try:
        target.execute(statement)
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName):
        raise TableError(failure) from None
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, f"emptying {target_table.name}") from None


def _condition(table: PublishedTable) -> sql.SQL | None:
    # The source's own text of the chunk's constraints, as pg_get_expr wrote it.
    condition = None if table.part is None else table.part.rows_condition
    return None if condition is None else sql.SQL(condition)
