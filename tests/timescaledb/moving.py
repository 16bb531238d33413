"""Moves the schema of one test database into another, as a migration does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import Side
from engine.schema.archive import ArchiveEntry, dump_archive
from engine.script.planned import Outcome, Script, StatementResult
from engine.script.run import run_script
from engine.timescaledb.made import SortedEntries, plan_dependents, read_made, sort_entries
from engine.timescaledb.plan import TimescalePlan, plan_timescaledb
from tests.conftest import Database
from tests.timescaledb.samples import POLICIES


def job_table(database: Database) -> str:
    """The catalog table of jobs, which moved."""
    name: str = database.query(
        "select coalesce(to_regclass('_timescaledb_catalog.bgw_job'),"
        " to_regclass('_timescaledb_config.bgw_job'))::text"
    )[0][0]
    return name


def fill(database: Database, *samples: str) -> None:
    """Make what samples say."""
    jobs = job_table(database)
    with database.connect() as connection:
        for sample in samples:
            text = sample.replace("JOBS", jobs) if sample is POLICIES else sample
            for statement in text.split(";\n"):
                if statement.strip():
                    connection.execute(statement)


@contextmanager
def session_on(database: Database, side: Side) -> Iterator[Session]:
    with open_session(parse_endpoint(side, database.conninfo), "test") as session:
        yield session


def plan(source: Database, target: Database) -> TimescalePlan:
    with session_on(source, Side.SOURCE) as one, session_on(target, Side.TARGET) as other:
        planned = plan_timescaledb(one, other)
    assert planned is not None
    return planned


def archive_of(source: Database, newest_version_number: int = 180000) -> SortedEntries:
    """All of a database's schema, taken apart, and sorted."""
    archive = dump_archive(parse_endpoint(Side.SOURCE, source.conninfo), newest_version_number)
    with session_on(source, Side.SOURCE) as session:
        return sort_entries((*archive.pre_entries, *archive.post_data), read_made(session, Side.SOURCE))


def restore(target: Database, entries: Iterable[ArchiveEntry]) -> None:
    with session_on(target, Side.TARGET) as session:
        for entry in entries:
            session.execute(entry.statement.encode())


def apply(target: Database, scripts: Iterable[Script]) -> list[StatementResult]:
    """Run scripts; what was not applied."""
    refused = []
    for script in scripts:
        with session_on(target, Side.TARGET) as session:
            done = run_script(session, script.text(), Side.TARGET)
        refused += [result for result in done.results if result.outcome is not Outcome.APPLIED]
    return refused


def migrate_schema(source: Database, target: Database) -> list[StatementResult]:
    """Bring all of the schema over, policies too; what was not applied."""
    sorted_entries = archive_of(source)
    restore(target, sorted_entries.kept)
    planned = plan(source, target)
    dependents = plan_dependents(sorted_entries.later, ())
    return apply(target, (*planned.with_the_schema, dependents, *planned.after_the_copy))


def left_to_do(planned: TimescalePlan) -> list[str]:
    """What scripts would run, or have set apart."""
    return [
        statement.about
        for script in (*planned.with_the_schema, *planned.after_the_copy)
        for statement in script.statements
    ]
