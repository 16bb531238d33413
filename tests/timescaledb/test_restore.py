"""A restore before the copy makes hypertables of tables, and puts off what they take once rows are there."""

from __future__ import annotations

from functools import partial

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.errors import BlockedError, Side
from engine.replication.deferred_state import DeferredStore
from engine.replication.schema_restore import BroughtSchema, bring_schema
from engine.replication.state import StateStore
from engine.schema.compare import compare_schemas
from engine.schema.comparison import Presence
from engine.timescaledb.made import read_made, sort_entries
from tests.conftest import Database
from tests.timescaledb.moving import fill, left_to_do, plan, session_on
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES

_MORE = r"""
set search_path = app, public;
create index metrics_value on metrics (value);
create unique index days_of_a_place on days (day, place);
create table sensors (id int primary key);
insert into sensors select generate_series(1, 40);
alter table small_ticks add constraint small_ticks_v_fkey foreign key (v) references sensors (id);
create function changed() returns trigger language plpgsql as 'begin return new; end';
create trigger on_change before update on spread for each row execute function changed();
"""

# Hypertables have replica identities since 2.12, and with a columnstore since 2.16.
_IDENTITY = "alter table app.days replica identity using index days_of_a_place"

_INDEXES = "select indexname, indexdef from pg_indexes where schemaname in ('app', 'O''dd \"S\"') order by 1"
_CONSTRAINTS = """
select conname, pg_get_constraintdef(oid), convalidated from pg_constraint
 where connamespace = 'app'::regnamespace and contype in ('p', 'u', 'f') order by 1
"""
_IDENTITIES = """
select oid::regclass::text, relreplident from pg_class
 where relnamespace = 'app'::regnamespace and relkind = 'r' order by 1
"""


def bring(source: Database, target: Database) -> BroughtSchema:
    with session_on(source, Side.SOURCE) as reading, session_on(target, Side.TARGET) as writing:
        return bring_schema(
            parse_endpoint(Side.SOURCE, source.conninfo),
            parse_endpoint(Side.TARGET, target.conninfo),
            "moving",
            reading,
            StateStore(writing, "moving"),
        )


def finish(target: Database) -> None:
    """Run what waits, in its order."""
    with session_on(target, Side.TARGET) as session:
        for step in DeferredStore(session, "moving").steps():
            session.execute(step.planned.statement.encode())


def require_same(source: Database, target: Database) -> None:
    for query in (_INDEXES, _CONSTRAINTS, _IDENTITIES):
        assert target.query(query) == source.query(query)


def test_hypertables_are_made_before_rows_and_indexes_after(
    apache_source: Database, apache_target: Database
) -> None:
    fill(apache_source, HYPERTABLES, _MORE, _IDENTITY)
    brought = bring(apache_source, apache_target)
    assert brought.outcome.applied, brought.outcome.error
    assert brought.notes == ()
    with_the_schema = plan(apache_source, apache_target).with_the_schema
    assert [script.statements for script in with_the_schema] == [()] * 4
    # Its key is there for the rows, its other index not yet.
    indexes = {name for name, _ in apache_target.query(_INDEXES)}
    assert {"metrics_pkey", "days_of_a_place"} <= indexes
    assert "metrics_value" not in indexes
    apache_target.execute(
        "insert into app.sensors values (1);"
        "insert into app.metrics values ('2026-01-01', 1, 5), ('2026-02-01', 1, 5);"
        "insert into app.small_ticks values (1, 1)"
    )
    finish(apache_target)
    require_same(apache_source, apache_target)


def test_all_of_the_full_edition_is_made_with_the_schema(
    full_source: Database, full_target: Database
) -> None:
    fill(full_source, HYPERTABLES, _MORE, AGGREGATES)
    brought = bring(full_source, full_target)
    assert brought.outcome.applied, brought.outcome.error
    waiting = left_to_do(plan(full_source, full_target))
    assert waiting
    assert all(about.startswith("columnstore of ") for about in waiting)
    finish(full_target)
    assert left_to_do(plan(full_source, full_target)) == []
    assert full_target.query("select count(*) from app.on_both") == [(0,)]
    require_same(full_source, full_target)


def test_a_restored_schema_compares_as_the_same(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, _MORE, AGGREGATES)
    assert bring(full_source, full_target).outcome.applied
    finish(full_target)
    # Chunks that only one side has are no difference.
    full_target.execute("insert into app.metrics values ('2026-01-01', 1, 5)")
    with session_on(full_source, Side.SOURCE) as source, session_on(full_target, Side.TARGET) as target:
        compared = compare_schemas(
            parse_endpoint(Side.SOURCE, full_source.conninfo),
            source,
            parse_endpoint(Side.TARGET, full_target.conninfo),
            target,
            sort_source=partial(sort_entries, made=read_made(source, Side.SOURCE)),
            sort_target=partial(sort_entries, made=read_made(target, Side.TARGET)),
        )
    odd = [one for one in compared.comparison.objects if one.presence is not Presence.IDENTICAL]
    assert odd == []
    assert len(compared.comparison.objects) > 20


def test_without_timescaledb_on_the_target_tables_are_plain(
    apache_source: Database, target_db: Database
) -> None:
    fill(apache_source, HYPERTABLES, _MORE)
    brought = bring(apache_source, target_db)
    assert brought.outcome.applied, brought.outcome.error
    assert brought.notes == ("The target has no TimescaleDB: 9 hypertables become plain tables",)
    finish(target_db)
    require_same(apache_source, target_db)


def test_an_extension_that_was_forgotten_is_asked_for(
    apache_source: Database, apache_target: Database
) -> None:
    fill(apache_source, HYPERTABLES)
    apache_target.execute("drop extension timescaledb")
    with pytest.raises(BlockedError) as refused:
        bring(apache_source, apache_target)
    assert "CREATE EXTENSION timescaledb" in str(refused.value)
    assert apache_target.query("select to_regclass('app.metrics')") == [(None,)]


@pytest.mark.parametrize("with_aggregates", [False, True])
def test_what_the_apache_edition_lacks_is_said(
    full_source: Database, apache_target: Database, with_aggregates: bool
) -> None:
    fill(full_source, HYPERTABLES, *([AGGREGATES] if with_aggregates else []))
    brought = bring(full_source, apache_target)
    assert brought.outcome.applied, brought.outcome.error
    said = " ".join(brought.notes)
    assert ("no continuous aggregates" in said) is with_aggregates
    assert ("no columnstore" in said) is with_aggregates
    assert apache_target.query("select count(*) from timescaledb_information.hypertables") == [(9,)]
