"""What is changed on the source for the migration's time is put back exactly, whoever crashes in between."""

from __future__ import annotations

import json

import pytest

from engine.checks.identity import read_identity
from engine.connection.endpoint import parse_endpoint
from engine.errors import Side
from engine.replication.drop import drop_subscription
from engine.replication.state import StateStore
from engine.script.planned import Outcome, ScriptResult
from engine.timescaledb.pause import await_jobs, plan_pause, running_jobs
from engine.timescaledb.source_changes import (
    SourceChangeStore,
    find_left_over,
    make_changes,
    plan_changes,
    take_back,
)
from engine.timescaledb.temporary_change import change_script
from engine.timescaledb.visible_writes import plan_visible_writes
from livesync_tui.cli import run_command_line
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.timescaledb.moving import fill, job_table, left_to_do, migrate_schema, plan, session_on
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES, POLICIES
from tests.timescaledb.test_full_edition import catalog_of
from tests.waiting import wait_until

_DIRECT_DELETE = "timescaledb.enable_compressed_direct_batch_delete"


@pytest.fixture
def source(full_source: Database) -> Database:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    return full_source


def all_jobs(database: Database) -> list[dict[str, object]]:
    rows = database.query(f"select to_jsonb(j) from {job_table(database)} j where id >= 1000 order by id")
    return [row for (row,) in rows]


def stored_settings(database: Database) -> list[object]:
    return database.query(
        "select setrole::regrole::text, one from pg_db_role_setting cross join unnest(setconfig) one"
        " where setdatabase = (select oid from pg_database where datname = current_database())"
        "   and one not like 'timescaledb.telemetry%%' order by 1, 2"
    )


def change(source: Database, target: Database) -> ScriptResult:
    with session_on(source, Side.SOURCE) as one, session_on(target, Side.TARGET) as other:
        StateStore(other, "moving").create()
        return make_changes(one, SourceChangeStore(other, "moving"), plan_changes(one))


def put_back(source: Database, target: Database) -> ScriptResult:
    with session_on(source, Side.SOURCE) as one, session_on(target, Side.TARGET) as other:
        return take_back(one, SourceChangeStore(other, "moving"))


def outcomes(result: ScriptResult) -> set[Outcome]:
    return {one.outcome for one in result.results}


def test_jobs_are_paused_and_come_back_exactly(source: Database, full_target: Database) -> None:
    before = all_jobs(source)
    assert outcomes(change(source, full_target)) == {Outcome.APPLIED}
    paused = {job["proc_name"] for job in all_jobs(source) if not job["scheduled"]}
    assert paused >= {"policy_compression", "policy_retention", "policy_reorder"}
    running = [job for job in all_jobs(source) if job["scheduled"]]
    assert {job["proc_name"] for job in running} == {"policy_refresh_continuous_aggregate", "my_job"}
    # All but whether they run is as it was: the timezone too.
    assert [{**job, "scheduled": None} for job in all_jobs(source)] == [
        {**job, "scheduled": None} for job in before
    ]
    assert outcomes(put_back(source, full_target)) == {Outcome.APPLIED}
    # Among them are two that had been paused by somebody.
    assert all_jobs(source) == before
    assert put_back(source, full_target).results == ()


def test_a_second_start_keeps_what_was_recorded_first(source: Database, full_target: Database) -> None:
    before = all_jobs(source), stored_settings(source)
    change(source, full_target)
    # An earlier start crashed before it had done all.
    number = next(job["id"] for job in all_jobs(source) if not job["scheduled"])
    source.execute(f"select public.alter_job({number}, scheduled => true)")
    change(source, full_target)
    put_back(source, full_target)
    now = all_jobs(source), stored_settings(source)
    assert [job["scheduled"] for job in now[0]] == [job["scheduled"] for job in before[0]]
    assert now[1] == before[1]


def test_a_change_that_was_recorded_and_not_made_does_no_harm(
    source: Database, full_target: Database
) -> None:
    before = all_jobs(source), stored_settings(source)
    with session_on(source, Side.SOURCE) as one, session_on(full_target, Side.TARGET) as other:
        StateStore(other, "moving").create()
        store = SourceChangeStore(other, "moving")
        for planned in plan_changes(one):
            store.record(planned, read_identity(one, Side.SOURCE))
    assert outcomes(put_back(source, full_target)) == {Outcome.APPLIED}
    assert (all_jobs(source), stored_settings(source)) == before


def test_a_chosen_job_waits_too_and_one_that_runs_is_waited_for(
    full_source: Database, full_target: Database
) -> None:
    full_source.execute(
        "create table public.gate (open bool);"
        "create procedure public.moves_rows(int, jsonb) language plpgsql as $$ begin"
        " while not exists (select from public.gate) loop commit; perform pg_sleep(0.05); end loop; end $$;"
    )
    number = full_source.query("select public.add_job('public.moves_rows', interval '1 hour')")[0][0]
    assert plan_pause(catalog_of(full_source)) == ()
    (planned,) = plan_pause(catalog_of(full_source), [number])
    schema = full_source.query(
        "select n.nspname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where p.proname = 'start_background_workers'"
    )[0][0]
    full_source.execute(f"select {schema}.start_background_workers()")
    with session_on(full_source, Side.SOURCE) as session:
        wait_until(lambda: running_jobs(session, [number]), describe="the job to run")
        full_source.execute(planned.statement)
        assert await_jobs(session, [number], 0, lambda: False)
        assert await_jobs(session, [number], 600, lambda: True)
        full_source.execute("insert into public.gate values (true)")
        assert await_jobs(session, [number], 90, lambda: False) == ()
        # Others are nobody's business.
        assert running_jobs(session, [number + 1]) == ()


def test_policies_of_the_target_are_as_before_the_pause(source: Database, full_target: Database) -> None:
    change(source, full_target)
    assert migrate_schema(source, full_target) == []
    planned = plan(source, full_target)
    assert left_to_do(planned) == []
    ran = {str(job) for job in planned.target.jobs if job.is_scheduled}
    assert "policy_compression of app.metrics" in ran
    assert "policy_retention of app.small_ticks" not in ran
    put_back(source, full_target)
    assert left_to_do(plan(source, full_target)) == []


def test_writes_that_nobody_would_see_are_switched_off(
    other_role: str, full_source: Database, full_target: Database
) -> None:
    if catalog_of(full_source).installation.version < (2, 23):
        pytest.skip("TimescaleDB has all of it since 2.23")
    quoted = '"' + other_role.replace('"', '""') + '"'
    full_source.execute(
        f"alter database {full_source.name} set timescaledb.enable_direct_compress_copy = yes;"
        f"alter role {quoted} in database {full_source.name} set {_DIRECT_DELETE} = 'true';"
        f"alter role {quoted} set timescaledb.enable_direct_compress_insert = 1"
    )
    before = stored_settings(full_source)
    assert outcomes(change(full_source, full_target)) == {Outcome.APPLIED}
    with full_source.connect() as connection:
        connection.execute("select public.time_bucket('1 day', now())")
        shown = {
            name: connection.execute(f"show timescaledb.{name}").fetchone()
            for name in ("enable_compressed_direct_batch_delete", "enable_direct_compress_copy")
        }
        assert set(shown.values()) == {("off",)}
    assert (f"{quoted}", f"{_DIRECT_DELETE}=off") in stored_settings(full_source)
    with session_on(full_source, Side.SOURCE) as session:
        assert plan_visible_writes(session) == ()
    put_back(full_source, full_target)
    assert stored_settings(full_source) == before


def test_what_is_refused_is_said_and_not_recorded(
    other_role: str, source: Database, full_target: Database
) -> None:
    quoted = '"' + other_role.replace('"', '""') + '"'
    source.execute(f"grant usage on schema app to {quoted}")
    with session_on(source, Side.SOURCE) as one, session_on(full_target, Side.TARGET) as other:
        planned = plan_changes(one)
        one.execute(f"set role {quoted}".encode())
        StateStore(other, "moving").create()
        store = SourceChangeStore(other, "moving")
        result = make_changes(one, store, planned)
        assert outcomes(result) == {Outcome.REFUSED}
        assert all(refused.said for refused in result.refused)
        assert store.changes() == ()


def test_another_source_is_left_alone(
    source: Database, full_target: Database, apache_source: Database
) -> None:
    change(source, full_target)
    assert outcomes(put_back(apache_source, full_target)) == {Outcome.REFUSED}
    assert outcomes(put_back(source, full_target)) == {Outcome.APPLIED}


def test_drop_puts_back(source: Database, full_target: Database) -> None:
    before = all_jobs(source), stored_settings(source)
    change(source, full_target)
    with session_on(full_target, Side.TARGET) as session:
        # Another subscription's end must not take the record away.
        StateStore(session, "other").forget()
    dropped = drop_subscription(
        parse_endpoint(Side.SOURCE, source.conninfo),
        parse_endpoint(Side.TARGET, full_target.conninfo),
        "moving",
    )
    assert dropped.not_put_back == ()
    assert (all_jobs(source), stored_settings(source)) == before
    assert full_target.query("select to_regnamespace('_ts_live_sync')") == [(None,)]


def test_run_pauses_and_drop_lets_go_on(full_source: Database, full_target: Database) -> None:
    full_source.execute("create table public.t (at timestamptz primary key)")
    full_source.execute("select public.create_hypertable('public.t', 'at')")
    full_source.execute("select public.add_retention_policy('public.t', interval '1 year')")
    full_source.execute(
        "create table public.plain (id int primary key); create publication pub for table public.plain"
    )
    full_target.execute("create table public.plain (id int primary key)")
    before = all_jobs(full_source)
    with Migration(full_source, full_target, subscription="moving") as migration:
        migration.wait_ready()
        assert [job["scheduled"] for job in all_jobs(full_source)] == [False]
        # Who wants it to run nevertheless is not overruled by a restart.
        full_source.execute(f"select public.alter_job({before[0]['id']}, scheduled => true)")
        migration.restart()
        migration.wait_ready()
        assert [job["scheduled"] for job in all_jobs(full_source)] == [True]
    full_source.execute(f"select public.alter_job({before[0]['id']}, scheduled => false)")
    drop_subscription(migration.config.source, migration.config.target, "moving")
    assert all_jobs(full_source) == before


def test_drop_says_what_the_source_would_not_have_back(
    source: Database, full_target: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    change(source, full_target)
    full_target.execute(
        "update _ts_live_sync.source_change set restore = 'select 1 / 0' where job is not null"
    )
    ends = run_command_line(
        ["drop", "--subscription", "moving", "--source", source.conninfo, "--target", full_target.conninfo]
    )
    said = capsys.readouterr().out
    assert ends == 0
    assert "division by zero" in said
    assert "select 1 / 0;" in said


@pytest.fixture
def gone(full_target: Database) -> str:
    """A target that does not answer."""
    return full_target.conninfo.replace(full_target.name, "no_such_database")


def test_without_the_target_drop_says_what_may_be_left(
    source: Database, full_target: Database, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = all_jobs(source)
    change(source, full_target)
    ends = run_command_line(
        ["drop", "--subscription", "moving", "--source", source.conninfo, "--target", gone]
    )
    said = capsys.readouterr().out
    assert ends != 0
    assert "alter_job" in said
    with session_on(source, Side.SOURCE) as session:
        left_over = find_left_over(session)
    assert left_over.text() in said
    # One of these was paused by somebody before.
    paused = [job for job in before if not job["scheduled"] and job["proc_name"] == "policy_retention"]
    assert len(paused) == 1
    fill(source, ";\n".join(statement.sql for statement in left_over.to_run))
    assert [job["scheduled"] or job["id"] == paused[0]["id"] for job in all_jobs(source)] == [
        job["scheduled"] or job["id"] == paused[0]["id"] for job in before
    ]
    assert json.dumps([job["timezone"] for job in all_jobs(source)]) == json.dumps(
        [job["timezone"] for job in before]
    )


def test_the_script_can_be_read_first(source: Database) -> None:
    with session_on(source, Side.SOURCE) as session:
        text = change_script(plan_changes(session)).text()
    assert "policy_compression of app.metrics (job " in text
    if "timezone =>" in text:
        assert "timezone => 'Europe/Paris'" in text


def test_plain_postgresql_has_nothing_to_change(source_db: Database) -> None:
    with session_on(source_db, Side.SOURCE) as session:
        assert plan_changes(session) == ()
        assert find_left_over(session).statements == ()
