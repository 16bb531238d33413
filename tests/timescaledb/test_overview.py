"""The overview says of each hypertable, aggregate and policy what becomes of it."""

from __future__ import annotations

from engine.errors import Side
from engine.timescaledb.overview import Making, OverviewLine, Part, TimescaleOverview
from engine.timescaledb.read_overview import read_overview
from engine.timescaledb.refill import RefillWay
from screens.timescale_overview import overview_text
from tests.conftest import Database
from tests.timescaledb.moving import archive_of, fill, migrate_schema, restore, session_on
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES, POLICIES


def look(source: Database, target: Database) -> TimescaleOverview:
    with session_on(source, Side.SOURCE) as one, session_on(target, Side.TARGET) as other:
        return read_overview(one, other)


def lines(overview: TimescaleOverview, part: Part) -> dict[str, OverviewLine]:
    return {line.name: line for line in overview.of(part)}


def test_first_all_will_be_made_and_then_it_is_there(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    restore(full_target, archive_of(full_source).kept)
    found = look(full_source, full_target)
    assert {part: len(found.of(part)) for part in Part} == {
        Part.HYPERTABLE: 9,
        Part.AGGREGATE: 5,
        Part.POLICY: 13,
    }
    makings = {line.making for line in found.lines}
    assert makings == {Making.MADE, Making.LATER}
    tables = lines(found, Part.HYPERTABLE)
    assert tables["app.metrics"].details == "time by 1 day; columnstore by device"
    assert tables["app.spread"].details == "t by 7 days, d by hash into 4, e by hash into 3, n by 1000"
    views = lines(found, Part.AGGREGATE)
    assert views["app.zz_hourly"].refill is RefillWay.COPY
    assert views["app.zz_hourly"].details == "of app.metrics; real-time"
    assert views["app.aa_monthly"].refill is RefillWay.RECOMPUTE
    assert "every 1 mon" in {line.details for line in found.of(Part.POLICY)}
    text = overview_text(found)
    assert all(line.name in text for line in found.lines)


def test_what_is_there_is_said(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    assert migrate_schema(full_source, full_target) == []
    assert {line.making for line in look(full_source, full_target).lines} == {Making.THERE}
    full_target.execute("select public.set_chunk_time_interval('app.days', interval '3 days')")
    full_target.execute("select public.remove_retention_policy('app.ticks')")
    found = look(full_source, full_target)
    assert {line.name: line.making for line in found.lines if line.making is not Making.THERE} == {
        "app.days": Making.CHANGED,
        "retention policy of app.ticks": Making.LATER,
    }


def test_the_apache_edition_leaves_out(full_source: Database, apache_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    restore(apache_target, archive_of(full_source).kept)
    found = look(full_source, apache_target)
    assert {line.making for line in found.of(Part.HYPERTABLE)} == {Making.MADE}
    for part in (Part.AGGREGATE, Part.POLICY):
        assert {line.making for line in found.of(part)} == {Making.LEFT_OUT}
        assert all("Apache edition" in line.reason for line in found.of(part))


def test_a_target_without_it_leaves_all_out(apache_source: Database, target_db: Database) -> None:
    fill(apache_source, HYPERTABLES)
    found = look(apache_source, target_db)
    assert found.target == ""
    assert len(found.lines) == 9
    assert {line.making for line in found.lines} == {Making.LEFT_OUT}


def test_a_source_without_it_has_nothing(source_db: Database, target_db: Database) -> None:
    assert look(source_db, target_db) == TimescaleOverview("", "", ())
