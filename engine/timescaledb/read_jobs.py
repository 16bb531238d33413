"""Reads policies and users' jobs of TimescaleDB's scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from engine.catalog.table import TableName
from engine.connection.session import Session
from engine.timescaledb.hypertable import RoutineName
from engine.timescaledb.job import Job, JobKind

_JOB_TABLES = ("_timescaledb_catalog.bgw_job", "_timescaledb_config.bgw_job")
"""Where it is since 2.25, and where it was."""

_FIND_TABLE = "select pg_catalog.to_regclass(%s) is not null"

# Jobs below 1000 are TimescaleDB's housekeeping.
_JOBS = """
select j.id as number, j.application_name::text as title,
       j.schedule_interval::text, j.max_runtime::text, j.max_retries, j.retry_period::text,
       j.proc_schema::text, j.proc_name::text,
       pg_catalog.pg_get_userbyid(j.owner::oid)::text as owner,
       j.scheduled as is_scheduled, j.fixed_schedule as is_fixed,
       j.initial_start::text, j.timezone, coalesce(j.config, '{}') as config,
       j.check_schema::text, j.check_name::text,
       coalesce(a.user_view_schema, h.schema_name)::text as schema,
       coalesce(a.user_view_name, h.table_name)::text as table,
       a.mat_hypertable_id is not null as is_aggregate
  from {table} j
  left join _timescaledb_catalog.hypertable h on h.id = j.hypertable_id
  left join _timescaledb_catalog.continuous_agg a on a.mat_hypertable_id = j.hypertable_id
 where j.id >= 1000
 order by j.id
"""

_OWN_SCHEMAS = ("_timescaledb_internal", "_timescaledb_functions")
_NUMBERS = ("hypertable_id", "mat_hypertable_id")
_USUAL_TITLE = "User-Defined Action"


@dataclass(frozen=True, slots=True)
class _JobRow:
    number: int
    title: str
    schedule_interval: str
    max_runtime: str
    max_retries: int
    retry_period: str
    proc_schema: str
    proc_name: str
    owner: str
    is_scheduled: bool
    is_fixed: bool
    initial_start: str | None
    timezone: str | None
    config: dict[str, object]
    check_schema: str | None
    check_name: str | None
    schema: str | None
    table: str | None
    is_aggregate: bool


def find_job_table(session: Session) -> str:
    """The catalog table of jobs, with its schema.

    Raises:
        psycopg.Error: It could not be read.
    """
    first, second = _JOB_TABLES
    return first if session.execute(_FIND_TABLE, [first]).fetchone() == (True,) else second


def read_jobs(session: Session) -> tuple[Job, ...]:
    """Policies and users' jobs, as they were made.

    Args:
        session: On a database with the extension, with its checked settings: intervals and moments are
            compared as text.

    Raises:
        psycopg.Error: They could not be read.
    """
    with session.cursor(row_factory=class_row(_JobRow)) as cursor:
        rows = cursor.execute(_JOBS.replace("{table}", find_job_table(session)).encode()).fetchall()
    return tuple(map(_job, rows))


def _job(row: _JobRow) -> Job:
    is_own = row.proc_schema in _OWN_SCHEMAS
    kind = JobKind.USER
    if is_own:
        kind = next((known for known in JobKind if known.value == row.proc_name), JobKind.OTHER)
    check = None
    if row.check_name is not None and row.check_schema is not None and not is_own:
        check = RoutineName(row.check_schema, row.check_name)
    title = row.title.removesuffix(f" [{row.number}]")
    return Job(
        kind=kind,
        procedure=RoutineName("_timescaledb_functions" if is_own else row.proc_schema, row.proc_name),
        relation=None if row.schema is None or row.table is None else TableName(row.schema, row.table),
        is_aggregate=row.is_aggregate,
        schedule_interval=row.schedule_interval,
        max_runtime=row.max_runtime,
        max_retries=row.max_retries,
        retry_period=row.retry_period,
        is_scheduled=row.is_scheduled,
        is_fixed=row.is_fixed,
        initial_start=row.initial_start if row.is_fixed or not is_own else None,
        timezone=row.timezone,
        config={key: value for key, value in row.config.items() if key not in _NUMBERS},
        check=check,
        title=None if is_own or title == _USUAL_TITLE else title,
        owner=row.owner,
        number=row.number,
    )
