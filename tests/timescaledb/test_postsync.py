"""The checklist refreshes aggregates and adds policies, and leaves for the cutover what would disturb it."""

from __future__ import annotations

import threading
from collections.abc import Collection

from engine.connection.endpoint import parse_endpoint
from engine.errors import Side
from engine.postsync.checklist import Checklist, ChecklistItem, Progress, Task
from engine.postsync.plan import plan_checklist
from engine.postsync.run import run_checklist
from tests.conftest import Database
from tests.timescaledb.moving import apply, archive_of, fill, plan, restore, session_on
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES
from tests.timescaledb.test_full_edition import aggregates, catalog_of

_POLICIES = """
set search_path = app, public;
select add_compression_policy('ticks', 604800000::bigint);
select add_continuous_aggregate_policy('zz_hourly', null, interval '1 hour', interval '30 minutes');
select add_retention_policy('days', interval '90 years');
create procedure my_job(job_id int, config jsonb) language plpgsql as 'begin end';
select add_job('my_job', interval '1 month', scheduled => false);
"""

_HOURLY = 'select bucket, device, "Av\'g", n from app.zz_hourly order by 1, 2'
_DAILY = "select * from app.daily order by 1, 2"


def bring(source: Database, target: Database) -> None:
    """Bring the schema but for policies, and the rows of ``app.metrics`` and ``app.ticks``."""
    restore(target, archive_of(source).kept)
    assert apply(target, plan(source, target).with_the_schema) == []
    for table in ("app.metrics", "app.ticks"):
        copy(source, f"select * from {table}", target, table)


def copy(source: Database, query: str, target: Database, table: str) -> None:
    with (
        source.connect() as one,
        target.connect() as other,
        one.cursor().copy(f"copy ({query}) to stdout") as rows,
        other.cursor().copy(f"copy {table} from stdin") as into,
    ):
        for row in rows:
            into.write(row)


def look(source: Database, target: Database) -> Checklist:
    with session_on(source, Side.SOURCE) as one, session_on(target, Side.TARGET) as other:
        return plan_checklist(one, other)


def work_off(target: Database, checklist: Checklist, chosen: Collection[int] | None = None) -> Checklist:
    return run_checklist(
        parse_endpoint(Side.TARGET, target.conninfo),
        checklist,
        session_count=3,
        stop=threading.Event(),
        on_progress=lambda _: None,
        chosen=chosen,
    )


def of(checklist: Checklist, task: Task) -> dict[str, ChecklistItem]:
    return {item.name: item for item in checklist.of(task)}


def test_aggregates_are_refreshed_and_policies_added(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, _POLICIES)
    bring(full_source, full_target)
    planned = look(full_source, full_target)
    refreshes = of(planned, Task.AGGREGATE)
    assert refreshes.keys() == {f"app.{name}" for name in aggregates(full_source)}
    assert refreshes["app.zz_hourly"].number in refreshes["app.daily"].requires
    assert refreshes["app.zz_hourly"].size_bytes > 0
    waits = {item.name for item in planned.of(Task.POLICY) if item.after_cutover}
    assert waits == {"retention policy of app.days", "job app.my_job"}
    if catalog_of(full_target).installation.version < (2, 23):
        assert {item.after_cutover for item in refreshes.values()} == {True}
        planned = work_off(full_target, planned, [item.number for item in refreshes.values()])

    done = work_off(full_target, planned)
    assert [item.failure for item in done.items if item.failure is not None] == []
    assert done.is_settled
    for query in (_HOURLY, _DAILY):
        assert full_target.query(query) == full_source.query(query) != []
    kinds = {str(job) for job in catalog_of(full_target).jobs}
    assert kinds == {
        "policy_refresh_continuous_aggregate of app.zz_hourly",
        "policy_compression of app.ticks",
    }
    late = [item.number for item in done.items if item.after_cutover and not item.is_settled]
    assert len(late) == 2

    assert work_off(full_target, done, late).count(Progress.FAILED) == 0
    again = look(full_source, full_target)
    ours = (*again.of(Task.AGGREGATE), *again.of(Task.POLICY))
    assert {item.progress for item in ours} == {Progress.ALREADY_THERE}
    assert len(ours) == 9


def test_what_drops_rows_does_not_come_before_what_reads_them(
    full_source: Database, full_target: Database
) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, _POLICIES)
    bring(full_source, full_target)
    planned = look(full_source, full_target)
    retention = of(planned, Task.POLICY)["retention policy of app.days"]
    refused = work_off(full_target, planned, [retention.number]).items[retention.number]
    assert refused.progress is Progress.FAILED
    assert refused.failure is not None
    assert "is not done" in refused.failure.title


def test_copied_history_survives(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    full_source.execute("select public.drop_chunks('app.metrics', older_than => '2026-01-03'::timestamptz)")
    bring(full_source, full_target)
    kept, made = aggregates(full_source)["zz_hourly"], aggregates(full_target)["zz_hourly"]
    copy(full_source, f"select * from {kept.materialization}", full_target, str(made.materialization))
    before = full_source.query(_HOURLY)
    # Nobody has told TimescaleDB yet how far the rows go.
    assert full_target.query(_HOURLY) != before

    planned = look(full_source, full_target)
    refresh = of(planned, Task.AGGREGATE)["app.zz_hourly"]
    assert "NULL, NULL" not in refresh.statement
    # Of this one no row was copied, and a refresh would give less than there was.
    assert "app.local_days" not in of(planned, Task.AGGREGATE)
    done = work_off(full_target, planned, [refresh.number])
    assert done.items[refresh.number].progress is Progress.DONE
    assert full_target.query(_HOURLY) == before


def test_without_the_extension_there_is_nothing_of_it(source_db: Database, target_db: Database) -> None:
    found = look(source_db, target_db)
    assert (*found.of(Task.AGGREGATE), *found.of(Task.POLICY)) == ()
