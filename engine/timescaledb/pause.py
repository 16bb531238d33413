"""Pauses the source's jobs that would change chunks under a copy.

A snapshot of a chunk is not stable while TimescaleDB compresses, decompresses or drops it: compressed rows
that are younger than the snapshot are seen, rows of before are not (facts, "Snapshot-copy hazards"). Users
who do so by hand are on their own; what TimescaleDB does by schedule waits until the migration ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.script.masking import literal
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.installation import Installation
from engine.timescaledb.job import Job, JobKind
from engine.timescaledb.temporary_change import TemporaryChange

CHANGES_CHUNKS = frozenset(
    (JobKind.COLUMNSTORE, JobKind.RETENTION, JobKind.REORDER, JobKind.COMPACTION, JobKind.OTHER)
)
"""Kinds of jobs that are always paused; OTHER are policies of releases that are gone, such as recompression.

A refresh policy only writes rows, which are followed like all rows. What a user's job does is not known.
"""

_POLL_SECONDS = 0.5

# TimescaleDB's workers call themselves like their job, which ends in its number.
_RUNNING = """
select a.application_name::text
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.pid <> pg_catalog.pg_backend_pid()
   and pg_catalog.substring(a.application_name, '\\[(\\d+)\\]$')::int = any (%s)
 order by 1
"""


def plan_pause(catalog: TimescaleCatalog, chosen: Collection[int] = ()) -> tuple[TemporaryChange, ...]:
    """What pauses the jobs that change chunks, and those a person chose.

    Args:
        catalog: The source's, as it is now. Jobs that are paused already are left as they are.
        chosen: Numbers of further jobs, such as users' jobs that move rows from chunk to chunk.
    """
    return tuple(
        _pause(job, catalog.installation)
        for job in catalog.jobs
        if job.is_scheduled and (job.kind in CHANGES_CHUNKS or job.number in chosen)
    )


def find_paused(catalog: TimescaleCatalog) -> tuple[TemporaryChange, ...]:
    """What lets jobs go on that are paused and change chunks, when no record says whose doing it was.

    Args:
        catalog: The source's, as it is now.
    """
    return tuple(
        _pause(job, catalog.installation)
        for job in catalog.jobs
        if not job.is_scheduled and job.kind in CHANGES_CHUNKS
    )


def _pause(job: Job, installation: Installation) -> TemporaryChange:
    return TemporaryChange(
        about=f"{job} (job {job.number}): paused",
        statement=_alter(job, installation, "false"),
        restore=_alter(job, installation, "true"),
        job=job.number,
    )


def _alter(job: Job, installation: Installation, is_scheduled: str) -> str:
    arguments = [str(job.number), f"scheduled => {is_scheduled}", "if_exists => true"]
    if job.timezone is not None and installation.takes("alter_job", "timezone"):
        # Not given, it is taken away; before 2.11 it cannot be given, and stays.
        arguments.append(f"timezone => {literal(job.timezone)}")
    return f"SELECT {installation.call('alter_job', *arguments)}"


def running_jobs(session: Session, numbers: Collection[int]) -> tuple[str, ...]:
    """Which of the jobs a worker is at now, as TimescaleDB calls them.

    Args:
        session: On the source.
        numbers: Of jobs.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        rows = session.execute(_RUNNING.encode(), [list(numbers)]).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for running jobs") from None
    return tuple(str(name) for (name,) in rows)


def await_jobs(
    session: Session, numbers: Collection[int], timeout_seconds: float, should_stop: Callable[[], bool]
) -> tuple[str, ...]:
    """Wait until paused jobs that were running at that moment have ended.

    Args:
        session: On the source.
        numbers: Of the jobs.
        timeout_seconds: How long at most.
        should_stop: Looked at meanwhile.

    Returns:
        Those that still run; none when all ended.

    Raises:
        EngineError: The source could not be read.
    """
    until = time.monotonic() + timeout_seconds
    while (running := running_jobs(session, numbers)) and not should_stop():
        if time.monotonic() >= until:
            break
        time.sleep(_POLL_SECONDS)
    return running
