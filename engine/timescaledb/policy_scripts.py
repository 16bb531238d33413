"""Adds policies and users' jobs, after the copy (seeds "3.5 Save policies for later", "7.1 Apply policies").

Offsets are taken as they are: none stays none, and of an integer dimension they are numbers. What the call
that adds a policy has no words for (a paused job, its limits) is done around that call, in one statement: a
paused retention policy never gets a moment in which it could run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.editions import unless_full
from engine.timescaledb.installation import Installation
from engine.timescaledb.job import Job, JobKind
from engine.timescaledb.words import boolean, interval, relation, routine

COLUMNSTORE_POLICIES_FILE = "columnstore_policies.sql"
REFRESH_POLICIES_FILE = "refresh_policies.sql"
RETENTION_POLICIES_FILE = "retention_policies.sql"
REORDER_POLICIES_FILE = "reorder_policies.sql"
COMPACTION_POLICIES_FILE = "compaction_policies.sql"
JOBS_FILE = "jobs.sql"

_FILES = (
    (REFRESH_POLICIES_FILE, "Refresh policies of continuous aggregates", JobKind.REFRESH),
    (COLUMNSTORE_POLICIES_FILE, "Columnstore policies", JobKind.COLUMNSTORE),
    (RETENTION_POLICIES_FILE, "Retention policies, which drop old chunks", JobKind.RETENTION),
    (REORDER_POLICIES_FILE, "Reorder policies", JobKind.REORDER),
    (COMPACTION_POLICIES_FILE, "Compaction policies", JobKind.COMPACTION),
    (JOBS_FILE, "Users' jobs", JobKind.USER),
)
"""In the order to run them: up to 2.19 an aggregate gets a columnstore policy only after its refresh
policy, and what drops rows comes after what reads them."""

_NOUNS = {
    JobKind.COLUMNSTORE: "columnstore policy",
    JobKind.REFRESH: "refresh policy",
    JobKind.RETENTION: "retention policy",
    JobKind.REORDER: "reorder policy",
    JobKind.COMPACTION: "compaction policy",
}

_LIMITS = {
    JobKind.COLUMNSTORE: ("00:00:00", -1, "01:00:00"),
    JobKind.RETENTION: ("00:05:00", -1, "00:05:00"),
    JobKind.USER: ("00:00:00", -1, "00:05:00"),
}
"""``max_runtime``, ``max_retries``, ``retry_period`` of a policy that was just added, where they are known.

Of a refresh policy, ``retry_period`` is how often it runs.
"""

_ADDS = {
    JobKind.COLUMNSTORE: "add_compression_policy",
    JobKind.REFRESH: "add_continuous_aggregate_policy",
    JobKind.RETENTION: "add_retention_policy",
    JobKind.REORDER: "add_reorder_policy",
    JobKind.COMPACTION: "add_compaction_policy",
}
"""All return the job's number."""

_REMOVES = {
    JobKind.COLUMNSTORE: "remove_compression_policy",
    JobKind.REFRESH: "remove_continuous_aggregate_policy",
    JobKind.RETENTION: "remove_retention_policy",
    JobKind.REORDER: "remove_reorder_policy",
    JobKind.COMPACTION: "remove_compaction_policy",
}

_ADDS_COLUMNSTORE = "add_columnstore_policy"
_NEW_NAMES = {"compress_after": "after", "compress_created_before": "created_before"}
"""What :data:`_ADDS_COLUMNSTORE` calls what the job's ``config`` calls otherwise."""

_INTERVALS = frozenset(
    (
        "compress_after",
        "compress_created_before",
        "start_offset",
        "end_offset",
        "drop_after",
        "drop_created_before",
        "inactive_for",
    )
)
"""Entries of a ``config`` that are intervals, unless they are numbers."""


def plan_policies(source: TimescaleCatalog, target: TimescaleCatalog) -> tuple[Script, ...]:
    """What adds the source's policies and jobs to the target; only to be run once its rows are there.

    Args:
        source, target: As they are now.

    Returns:
        One script for each kind, in the order to run them; some may have nothing in them.
    """
    scripts = []
    for file, title, kind in _FILES:
        statements, same = _missing(
            [job for job in source.jobs if job.kind is kind],
            [job for job in target.jobs if job.kind is kind],
            target.installation,
        )
        without = "no jobs" if kind is JobKind.USER else "no policies"
        scripts.append(
            Script(
                file,
                title,
                unless_full(statements, target.installation, without),
                tuple(same),
                _notes(source.jobs, target.installation) if kind is JobKind.USER else (),
            )
        )
    return tuple(scripts)


def _notes(jobs: Sequence[Job], installation: Installation) -> tuple[str, ...]:
    notes = [
        f"{job} is left out: only TimescaleDB's own policies of the kinds above are known"
        for job in jobs
        if job.kind is JobKind.OTHER
    ]
    notes += [
        f"{job} is owned by {quote_identifier(job.owner)}, a role the target does not have"
        for job in jobs
        if job.kind is JobKind.USER and job.owner not in installation.roles
    ]
    return tuple(notes)


def _missing(
    wanted: Sequence[Job], found: Sequence[Job], installation: Installation
) -> tuple[list[ScriptStatement], list[str]]:
    """Statements, and jobs that are there as they should be."""
    there: dict[object, list[Job]] = defaultdict(list)
    for job in found:
        there[_about_what(job)].append(job)
    mine: dict[object, list[Job]] = defaultdict(list)
    for job in wanted:
        mine[_about_what(job)].append(job)
    statements: list[ScriptStatement] = []
    same: list[str] = []
    for key, jobs in mine.items():
        left = list(there[key])
        lacking = []
        for job in jobs:
            twin = next((other for other in left if _compared(other) == _compared(job)), None)
            if twin is None:
                lacking.append(job)
            else:
                left.remove(twin)
                same.append(job_title(job))
        # Of several there is no telling which one was meant.
        if len(lacking) == 1 and len(left) == 1:
            statements.append(_removal(left[0], installation))
        statements += [_addition(job, installation) for job in lacking]
    return statements, same


def _about_what(job: Job) -> object:
    return job.procedure, job.relation


def _compared(job: Job) -> Job:
    # A policy is its table's owner's.
    return job if job.kind is JobKind.USER else replace(job, owner="")


def job_title(job: Job) -> str:
    """What a job is called where it is listed: ``retention policy of app.metrics``."""
    if job.kind is JobKind.OTHER:
        return str(job)
    if job.kind is JobKind.USER:
        return f"job {job.procedure}" + (f" ({job.title})" if job.title else "")
    paused = "" if job.is_scheduled else ", paused"
    return f"{_NOUNS[job.kind]} of {job.relation}{paused}"


def _removal(job: Job, installation: Installation) -> ScriptStatement:
    about = f"{job_title(job)}: removed, because it differs"
    if job.kind is JobKind.USER:
        return ScriptStatement(about, f"SELECT {installation.call('delete_job', str(job.number))}")
    assert job.relation is not None
    return ScriptStatement(
        about, f"SELECT {installation.call(_REMOVES[job.kind], relation(job.relation), 'if_exists => true')}"
    )


def _addition(job: Job, installation: Installation) -> ScriptStatement:
    if job.kind is JobKind.USER:
        return ScriptStatement(job_title(job), _user_job(job, installation))
    if not installation.has(_ADDS[job.kind]):
        return ScriptStatement(
            job_title(job),
            f"SELECT {installation.call(_ADDS[job.kind], *_arguments(job, installation))}",
            f"the target's TimescaleDB {installation.version_text} has no such policies",
        )
    limits = _limits(job, installation)
    if job.kind is JobKind.COLUMNSTORE and not limits and installation.has(_ADDS_COLUMNSTORE):
        arguments = _arguments(job, installation, _NEW_NAMES)
        return ScriptStatement(job_title(job), f"CALL {installation.call(_ADDS_COLUMNSTORE, *arguments)}")
    added = installation.call(_ADDS[job.kind], *_arguments(job, installation))
    if limits:
        added = installation.call("alter_job", added, *limits)
    return ScriptStatement(job_title(job), f"SELECT {added}")


def _own_arguments(job: Job, installation: Installation) -> dict[str, str]:
    """Entries of the job's ``config`` that the call which adds it takes."""
    function = _ADDS[job.kind]
    return {key: _value(key, value) for key, value in job.config.items() if installation.takes(function, key)}


def _arguments(job: Job, installation: Installation, names: Mapping[str, str] | None = None) -> list[str]:
    assert job.relation is not None
    own = _own_arguments(job, installation)
    if job.kind is JobKind.REFRESH:
        # Without limit, which has to be said.
        own = {"start_offset": "NULL", "end_offset": "NULL", **own}
    arguments = [relation(job.relation)]
    arguments += [f"{(names or {}).get(key, key)} => {value}" for key, value in own.items()]
    if job.kind is not JobKind.REORDER:
        arguments.append(f"schedule_interval => {interval(job.schedule_interval)}")
    if job.is_fixed and job.initial_start is not None:
        arguments.append(f"initial_start => {literal(job.initial_start)}::timestamptz")
    if job.timezone is not None:
        arguments.append(f"timezone => {literal(job.timezone)}")
    return arguments


def _value(key: str, value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return f"{value}::bigint" if key in _INTERVALS else str(value)
    text = str(value)
    return interval(text) if key in _INTERVALS else literal(text)


def _limits(job: Job, installation: Installation) -> list[str]:
    """What has to be changed of the job once it was added; arguments of ``alter_job``."""
    usual = ("00:00:00", -1, job.schedule_interval) if job.kind is JobKind.REFRESH else _LIMITS.get(job.kind)
    arguments = []
    if job.kind is JobKind.REORDER:
        arguments.append(f"schedule_interval => {interval(job.schedule_interval)}")
    if (job.max_runtime, job.max_retries, job.retry_period) != usual:
        arguments += [
            f"max_runtime => {interval(job.max_runtime)}",
            f"max_retries => {job.max_retries}",
            f"retry_period => {interval(job.retry_period)}",
        ]
    if not job.is_scheduled and job.kind is not JobKind.USER:
        arguments.append("scheduled => false")
    if job.kind is not JobKind.USER and not _own_arguments(job, installation).keys() >= job.config.keys():
        # All of it: alter_job puts it in the place of what is there.
        arguments.append(f"config => {_json(job.config)} || {_number(job)}")
    if arguments and job.timezone is not None:
        # Not given, alter_job takes the job's own away.
        arguments.append(f"timezone => {literal(job.timezone)}")
    return arguments


def _number(job: Job) -> str:
    """The entry of a policy's ``config`` with the target's number of its hypertable."""
    assert job.relation is not None
    if job.is_aggregate:
        query = (
            "SELECT a.mat_hypertable_id FROM _timescaledb_catalog.continuous_agg a WHERE "
            "(a.user_view_schema, a.user_view_name)"
        )
    else:
        query = "SELECT h.id FROM _timescaledb_catalog.hypertable h WHERE (h.schema_name, h.table_name)"
    key = "mat_hypertable_id" if job.kind is JobKind.REFRESH else "hypertable_id"
    name = f"({literal(job.relation.schema)}, {literal(job.relation.table)})"
    return f"pg_catalog.jsonb_build_object({literal(key)}, ({query} = {name}))"


def _user_job(job: Job, installation: Installation) -> str:
    arguments = [routine(job.procedure), interval(job.schedule_interval)]
    if job.config:
        arguments.append(f"config => {_json(job.config)}")
    if job.initial_start is not None:
        arguments.append(f"initial_start => {literal(job.initial_start)}::timestamptz")
    if not job.is_scheduled:
        arguments.append("scheduled => false")
    if job.check is not None:
        arguments.append(f"check_config => {routine(job.check)}")
    if not job.is_fixed:
        arguments.append("fixed_schedule => false")
    if job.timezone is not None:
        arguments.append(f"timezone => {literal(job.timezone)}")
    if job.title is not None and installation.takes("add_job", "job_name"):
        arguments.append(f"job_name => {literal(job.title)}")
    added = installation.call("add_job", *arguments)
    limits = _limits(job, installation)
    if limits:
        added = installation.call("alter_job", added, *limits)
    if job.owner == installation.role or job.owner not in installation.roles:
        return f"SELECT {added}"
    # A job is whose it is that adds it.
    return f"SET ROLE {sql.Identifier(job.owner).as_string()};\nSELECT {added};\nRESET ROLE"


def _json(config: Mapping[str, object]) -> str:
    return f"{literal(json.dumps(config, ensure_ascii=False, sort_keys=True))}::jsonb"
