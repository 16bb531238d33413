"""What the scripts say for targets of other releases and editions, from values alone."""

from __future__ import annotations

from dataclasses import replace

from engine.catalog.table import TableName
from engine.schema.archive import ArchiveEntry
from engine.script.planned import Script
from engine.timescaledb.aggregate import AggregateIndex, ContinuousAggregate
from engine.timescaledb.aggregate_script import plan_aggregates
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.columnstore_script import plan_columnstores
from engine.timescaledb.hypertable import (
    Columnstore,
    Dimension,
    Extent,
    Hypertable,
    OrderColumn,
    RoutineName,
    SparseIndex,
)
from engine.timescaledb.hypertable_scripts import plan_hypertables
from engine.timescaledb.installation import Edition, Installation
from engine.timescaledb.job import Job, JobKind
from engine.timescaledb.made import TimescaleMade, sort_entries, split_post_data
from engine.timescaledb.policy_scripts import plan_policies

_REFRESH_ARGUMENTS = ("start_offset", "end_offset", "schedule_interval", "initial_start", "timezone")
_ARGUMENTS = {
    "add_compression_policy": frozenset(("compress_after", "compress_created_before")),
    "add_continuous_aggregate_policy": frozenset(_REFRESH_ARGUMENTS),
    "add_retention_policy": frozenset(("drop_after", "drop_created_before")),
    "add_reorder_policy": frozenset(("index_name",)),
    "add_job": frozenset(),
}

OLD = Installation("2.16.1", Edition.FULL, "public", _ARGUMENTS, "me", frozenset(("me", "someone")))
NEW = replace(
    OLD,
    version_text="2.29.2",
    arguments={
        **_ARGUMENTS,
        "add_columnstore_policy": frozenset(("after", "created_before")),
        "add_continuous_aggregate_policy": frozenset((*_REFRESH_ARGUMENTS, "buckets_per_batch")),
        "add_compaction_policy": frozenset(("max_chunks", "inactive_for")),
        "add_job": frozenset(("job_name",)),
    },
)
APACHE = replace(NEW, edition=Edition.APACHE)

_WITHOUT_INDEXES = Columnstore(
    ("device",), (OrderColumn("time", is_descending=True, nulls_first=True),), None, ()
)

METRICS = Hypertable(
    TableName("app", "metrics"),
    (
        Dimension(
            "time", "timestamp with time zone", Extent(604_800_000_000, is_integer=False), None, None, None
        ),
    ),
    "_timescaledb_internal",
    None,
    replace(_WITHOUT_INDEXES, indexes=(SparseIndex("bloom", ("a", "b")),)),
    (),
)

DAILY = ContinuousAggregate(
    name=TableName("app", "daily"),
    oid=1,
    materialization=TableName("_timescaledb_internal", "_materialized_hypertable_7"),
    materialization_oid=2,
    reads=METRICS.name,
    level=0,
    query="SELECT 1",
    columns=("time", "n"),
    bucket_column="time",
    extent=Extent(864_000_000_000, is_integer=False),
    is_real_time=True,
    is_finalized=True,
    indexes=(
        AggregateIndex(None, False, 'USING btree ("time" DESC)'),
        AggregateIndex("mine", True, "USING btree (n)"),
    ),
    columnstore=None,
    comment=None,
    column_comments=(),
    owner="someone",
)

RETENTION = Job(
    kind=JobKind.RETENTION,
    procedure=RoutineName("_timescaledb_functions", "policy_retention"),
    relation=METRICS.name,
    is_aggregate=False,
    schedule_interval="1 day",
    max_runtime="00:05:00",
    max_retries=-1,
    retry_period="00:05:00",
    is_scheduled=True,
    is_fixed=False,
    initial_start=None,
    timezone=None,
    config={"drop_after": "1 year"},
    check=None,
    title=None,
    owner="me",
)


def catalog(
    installation: Installation,
    hypertables: tuple[Hypertable, ...] = (),
    aggregates: tuple[ContinuousAggregate, ...] = (),
    jobs: tuple[Job, ...] = (),
) -> TimescaleCatalog:
    return TimescaleCatalog(installation, hypertables, aggregates, jobs)


def policies(job: Job, target: Installation) -> Script:
    scripts = plan_policies(catalog(NEW, jobs=(job,)), catalog(target))
    return next(script for script in scripts if script.statements)


def only_statement(script: Script) -> str:
    (statement,) = script.statements
    return statement.sql


def test_old_targets_are_spoken_to_in_their_words() -> None:
    script = plan_columnstores(catalog(NEW, (METRICS,)), catalog(OLD))
    assert only_statement(script) == (
        'ALTER TABLE "app"."metrics" SET (timescaledb.compress = true, '
        "timescaledb.compress_segmentby = '\"device\"', "
        "timescaledb.compress_orderby = '\"time\" DESC NULLS FIRST')"
    )
    assert any("Sparse indexes of app.metrics are left out" in note for note in script.notes)
    # And what could not be carried over is no difference for ever.
    without = replace(METRICS, columnstore=_WITHOUT_INDEXES)
    assert plan_columnstores(catalog(NEW, (METRICS,)), catalog(OLD, (without,))).statements == ()


def test_new_targets_get_the_new_words() -> None:
    script = plan_columnstores(catalog(OLD, (METRICS,)), catalog(NEW))
    assert only_statement(script) == (
        'ALTER TABLE "app"."metrics" SET (timescaledb.enable_columnstore = true, '
        "timescaledb.segmentby = '\"device\"', timescaledb.orderby = '\"time\" DESC NULLS FIRST', "
        'timescaledb.index = \'bloom("a", "b")\')'
    )


def test_no_segmentby_is_said_and_no_choice_is_not() -> None:
    none = replace(METRICS, columnstore=Columnstore((), None, None, ()))
    assert "timescaledb.segmentby = ''" in only_statement(
        plan_columnstores(catalog(OLD, (none,)), catalog(NEW))
    )
    chosen_later = replace(METRICS, columnstore=Columnstore(None, None, None, ()))
    statement = only_statement(plan_columnstores(catalog(NEW, (chosen_later,)), catalog(NEW)))
    assert "segmentby" not in statement
    # Whatever the target chose is as good.
    chosen = replace(METRICS, columnstore=_WITHOUT_INDEXES)
    assert plan_columnstores(catalog(NEW, (chosen_later,)), catalog(OLD, (chosen,))).already_there


def test_functions_are_found_wherever_the_extension_is() -> None:
    odd = replace(NEW, schema='Odd "s"')
    first, _ = plan_hypertables(catalog(NEW, (METRICS,)), catalog(odd))
    assert only_statement(first).startswith('SELECT "Odd ""s""".create_hypertable(')
    assert '"Odd ""s""".by_range(' in only_statement(first)


def test_a_uuid_waits_for_a_release_that_knows_it() -> None:
    by_uuid = replace(METRICS, dimensions=(replace(METRICS.dimensions[0], column_type="uuid"),))
    first, _ = plan_hypertables(catalog(NEW, (by_uuid,)), catalog(OLD))
    assert "2.16.1 cannot cut by a UUID" in first.statements[0].set_apart
    first, _ = plan_hypertables(catalog(NEW, (by_uuid,)), catalog(NEW))
    assert first.statements[0].set_apart == ""


def test_a_distributed_hypertable_becomes_an_ordinary_one_and_that_is_said() -> None:
    first, _ = plan_hypertables(catalog(OLD, (replace(METRICS, is_distributed=True),)), catalog(NEW))
    assert len(first.to_run) == 1
    assert "ordinary hypertable" in first.notes[0]


def test_an_aggregate_gets_all_but_the_index_that_comes_by_itself() -> None:
    script = plan_aggregates(catalog(NEW, aggregates=(DAILY,)), catalog(NEW), frozenset())
    assert [
        statement.about.removeprefix("continuous aggregate app.daily") for statement in script.statements
    ] == [
        "",
        ": extent of chunks",
        ": index mine",
        ": owner",
    ]
    assert script.statements[2].sql == 'CREATE UNIQUE INDEX "mine" ON "app"."daily" USING btree (n)'
    assert "timescaledb.materialized_only = false" in script.statements[0].sql


def test_an_owner_that_is_not_there_is_a_note() -> None:
    without = replace(NEW, roles=frozenset(("me",)))
    script = plan_aggregates(catalog(NEW, aggregates=(DAILY,)), catalog(without), frozenset())
    assert not [statement for statement in script.statements if "OWNER" in statement.sql]
    assert "a role the target does not have" in script.notes[0]


def test_an_aggregate_with_the_old_bucket_is_set_apart() -> None:
    old = replace(
        DAILY, query="SELECT timescaledb_experimental.time_bucket_ng('1 day', t)", is_finalized=False
    )
    script = plan_aggregates(catalog(OLD, aggregates=(old,)), catalog(NEW), frozenset())
    assert "time_bucket_ng" in script.statements[0].set_apart
    assert any("state of its aggregate functions" in note for note in script.notes)


def test_no_offset_stays_no_offset() -> None:
    refresh = replace(
        RETENTION,
        kind=JobKind.REFRESH,
        relation=DAILY.name,
        is_aggregate=True,
        config={"start_offset": None, "buckets_per_batch": 10},
        max_runtime="00:00:00",
        retry_period="1 day",
    )
    assert only_statement(policies(refresh, NEW)) == (
        "SELECT public.add_continuous_aggregate_policy('app.daily'::regclass, start_offset => NULL, "
        "end_offset => NULL, buckets_per_batch => 10, schedule_interval => INTERVAL '1 day')"
    )
    # A target without that argument gets it into the job's config.
    statement = only_statement(policies(refresh, OLD))
    assert "buckets_per_batch =>" not in statement
    assert """config => '{"buckets_per_batch": 10, "start_offset": null}'::jsonb || """ in statement
    assert "'mat_hypertable_id', (SELECT a.mat_hypertable_id" in statement


def test_numbers_are_numbers_and_created_before_has_its_name() -> None:
    integer = replace(RETENTION, config={"drop_after": 1000})
    assert "drop_after => 1000::bigint" in only_statement(policies(integer, NEW))
    created = replace(
        RETENTION,
        kind=JobKind.COLUMNSTORE,
        config={"compress_created_before": "7 days"},
        max_runtime="00:00:00",
        retry_period="01:00:00",
    )
    assert only_statement(policies(created, NEW)).startswith(
        "CALL public.add_columnstore_policy('app.metrics'::regclass, created_before => INTERVAL '7 days'"
    )
    assert only_statement(policies(created, OLD)).startswith(
        "SELECT public.add_compression_policy('app.metrics'::regclass, "
        "compress_created_before => INTERVAL '7 days'"
    )


def test_a_paused_policy_is_never_added_running() -> None:
    paused = replace(RETENTION, is_scheduled=False, timezone="Europe/Paris")
    statement = only_statement(policies(paused, NEW))
    # One statement, so it commits with the pause; and alter_job forgets what it is not told.
    assert statement.startswith("SELECT public.alter_job(public.add_retention_policy(")
    assert statement.endswith("scheduled => false, timezone => 'Europe/Paris')")


def test_a_compaction_policy_needs_a_release_that_has_some() -> None:
    compaction = replace(
        RETENTION, kind=JobKind.COMPACTION, config={"max_chunks": 3, "inactive_for": "1 day"}
    )
    script = policies(compaction, NEW)
    assert script.file_name == "compaction_policies.sql"
    assert "max_chunks => 3, inactive_for => INTERVAL '1 day'" in only_statement(script)
    assert "2.16.1 has no such policies" in policies(compaction, OLD).statements[0].set_apart


def test_a_jobs_title_is_kept_where_there_is_a_word_for_it() -> None:
    job = replace(
        RETENTION,
        kind=JobKind.USER,
        procedure=RoutineName("app", "tidy"),
        relation=None,
        config={},
        title="it's mine",
        max_runtime="00:00:00",
        owner="someone",
    )
    statement = only_statement(policies(job, NEW))
    assert statement.startswith('SET ROLE "someone";\nSELECT public.add_job(')
    assert "job_name => 'it''s mine'" in statement
    assert "job_name" not in only_statement(policies(job, OLD))


def test_policies_that_are_not_known_are_said() -> None:
    old = replace(
        RETENTION, kind=JobKind.OTHER, procedure=RoutineName("_timescaledb_functions", "policy_recompression")
    )
    scripts = plan_policies(catalog(OLD, jobs=(old,)), catalog(NEW))
    assert not any(script.statements for script in scripts)
    assert "policy_recompression of app.metrics is left out" in scripts[-1].notes[0]


def test_the_apache_edition_gets_hypertables_only() -> None:
    source = catalog(NEW, (METRICS,), (DAILY,), (RETENTION,))
    target = catalog(APACHE)
    first, _ = plan_hypertables(source, target)
    assert first.to_run
    for script in (
        plan_columnstores(source, target),
        plan_aggregates(source, target, frozenset()),
        *plan_policies(source, target),
    ):
        assert script.to_run == ()


def entry(number: int, catalog_oid: int, oid: int, *needs: int, kind: str = "TABLE") -> ArchiveEntry:
    statement = f"ALTER TABLE ONLY t{number} DO;"
    return ArchiveEntry(number, catalog_oid, oid, kind, f"e{number}", statement, frozenset(needs))


def test_entries_are_sorted_by_what_they_need() -> None:
    made = TimescaleMade(
        relations=frozenset((100,)),
        aggregates=frozenset((200,)),
        triggers=frozenset((300,)),
        extension=frozenset((400,)),
    )
    entries = (
        entry(1, 3079, 400, kind="EXTENSION"),
        entry(2, 0, 0, 1, kind="COMMENT"),
        entry(3, 1259, 500, 1),
        entry(4, 1259, 100),
        entry(5, 1259, 200, 4, kind="VIEW"),
        entry(6, 0, 0, 5, kind="COMMENT"),
        entry(7, 1259, 600, 5, 3, kind="VIEW"),
        entry(8, 0, 0, 7, kind="COMMENT"),
        entry(9, 1259, 101, 4, kind="INDEX"),
        entry(10, 2620, 300, 3, kind="TRIGGER"),
        entry(11, 2620, 301, 3, kind="TRIGGER"),
        # Another catalog's object may have the same oid.
        entry(12, 1255, 100, kind="FUNCTION"),
    )
    found = sort_entries(entries, made)
    assert [one.id for one in found.kept] == [3, 11, 12]
    assert [one.id for one in found.later] == [7, 8]
    assert [one.id for one in found.left_out] == [1, 2, 4, 5, 6, 9, 10]


def test_keys_come_before_hypertables_and_the_rest_in_their_words() -> None:
    made = TimescaleMade(hypertables=frozenset((500,)), keys=frozenset((700, 701)))
    entries = (
        entry(1, 2606, 700, 9, kind="CONSTRAINT"),
        entry(2, 1259, 701, 9, kind="INDEX"),
        entry(3, 2606, 702, 9, 8, kind="FK CONSTRAINT"),
        entry(4, 2606, 703, 8, kind="FK CONSTRAINT"),
    )
    found = split_post_data(entries, {9: 500, 8: 501}, made)
    assert [one.id for one in found.keys] == [1, 2]
    assert [one.statement for one in found.rest] == ["ALTER TABLE t3 DO;", "ALTER TABLE ONLY t4 DO;"]
