"""Time columns are found, measured from statistics, and told with what stands against them."""

from __future__ import annotations

from collections.abc import Iterator

import pglast
import pytest
from psycopg import sql

from engine.catalog.hypertable import EpochUnit, HypertableSuggestion, TimeKind
from engine.catalog.hypertable_facts import hypertable_statement, suggest_hypertables
from engine.catalog.table import TableName
from engine.catalog.tables import list_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import Side
from tests.conftest import Database
from tests.engine.odd_names import ODD_NAMES

DAYS = 20
ROWS_PER_DAY = 500


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as opened:
        yield opened


def suggestions(session: Session, **arguments: int) -> dict[str, HypertableSuggestion]:
    names = [table.name for table in list_tables(session)]
    return {found.table.table: found for found in suggest_hypertables(session, names, **arguments)}


def moments(column: str) -> str:
    """A query of evenly spaced moments as ``column``, oldest first."""
    return (
        f"select timestamptz '2026-01-01 00:00+00' + i * interval '1 day' / {ROWS_PER_DAY} as {column}"
        f" from generate_series(1, {DAYS * ROWS_PER_DAY}) i"
    )


@pytest.mark.parametrize(
    ("type_name", "value", "kind", "unit"),
    [
        ("timestamptz", "time", TimeKind.TIMESTAMPTZ, None),
        ("timestamp(3)", "time", TimeKind.TIMESTAMP, None),
        ("date", "time", TimeKind.DATE, None),
        ("int", "extract(epoch from time)", TimeKind.INTEGER, EpochUnit.SECONDS),
        ("bigint", "extract(epoch from time)", TimeKind.INTEGER, EpochUnit.SECONDS),
        ("bigint", "extract(epoch from time) * 1000", TimeKind.INTEGER, EpochUnit.MILLISECONDS),
        ("bigint", "extract(epoch from time) * 1000000", TimeKind.INTEGER, EpochUnit.MICROSECONDS),
        ("bigint", "extract(epoch from time) * 1000000000", TimeKind.INTEGER, EpochUnit.NANOSECONDS),
    ],
)
def test_each_type_is_measured_in_days(
    source_db: Database,
    session: Session,
    *,
    type_name: str,
    value: str,
    kind: TimeKind,
    unit: EpochUnit | None,
) -> None:
    source_db.execute(f'create table t ("createdAt" {type_name} not null, reading float)')
    # Made-up moments at both ends must not count.
    source_db.execute(f"insert into t select ({value})::{type_name}, 1 from ({moments('time')}) m; analyze t")
    best = suggestions(session)["t"].best
    assert (best.name, best.kind, best.unit) == ("createdAt", kind, unit)
    assert best.obstacles == ()
    assert best.rows_per_day == pytest.approx(ROWS_PER_DAY, rel=0.15)
    assert best.span_days == pytest.approx(DAYS, rel=0.15)
    assert best.interval.text == "30 days"
    if unit is not None:
        assert best.interval.integer == 30 * 86_400 * unit.value
    assert "rows come in its order" in best.reasons


def test_made_up_moments_do_not_change_the_rate(source_db: Database, session: Session) -> None:
    source_db.execute(
        f"create table t (time timestamptz); insert into t {moments('m')};"
        " insert into t values ('infinity'), ('-infinity'), ('9999-12-31'), ('0044-03-15 BC');"
        " insert into t select timestamptz '1970-01-01' from generate_series(1, 50); analyze t"
    )
    best = suggestions(session)["t"].best
    assert best.rows_per_day == pytest.approx(ROWS_PER_DAY, rel=0.15)
    assert best.span_days == pytest.approx(DAYS, rel=0.15)


def test_the_more_comes_in_a_day_the_shorter_is_a_chunk(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table t (time timestamptz, day date);"
        f" insert into t select m, m::date from ({moments('m')}) x"
    )
    source_db.execute("analyze t")
    day_bytes = source_db.query("select pg_total_relation_size('t')")[0][0] / DAYS
    for days, text in ((40, "30 days"), (10, "7 days"), (2, "1 day"), (0.4, "6 hours"), (0.001, "1 hour")):
        found = suggestions(session, memory_bytes=int(4 * days * day_bytes))["t"]
        columns = {column.name: column for column in found.columns}
        assert columns["time"].interval.text == text
        # A date has no hours.
        assert columns["day"].interval.text == (text if "day" in text else "1 day")


def test_what_stands_against_it_is_told(source_db: Database, session: Session) -> None:
    source_db.execute(
        """
        create table t (id bigint primary key, device int not null, time timestamptz, code int,
                        during tstzrange, day date generated always as (date '2026-01-01') stored,
                        unique (device, time), exclude using gist (during with &&));
        create unique index by_hash on t ((code + 1));
        create table refers (t bigint references t);
        create table parts (t bigint references t) partition by list (t);
        create table part partition of parts default;
        create rule r as on delete to t do also select 1;
        create table child () inherits (t);
        """
    )
    source_db.execute(
        f"insert into t (id, device, time) select row_number() over (), 1, nullif(m, '2026-01-02') from"
        f" ({moments('m')}) x; analyze t"
    )
    found = {column.name: column for column in suggestions(session)["t"].columns}
    told = "\n".join(f"{obstacle.what}: {obstacle.remedy}" for obstacle in found["time"].obstacles)
    assert "primary key (id) does not have time" in told
    assert "make it (id, time)" in told
    assert "(device, time)" not in told
    assert "unique index by_hash" in told
    assert "exclusion constraint t_during_excl (during)" in told
    assert "from public.parts, public.refers" in told
    assert "rules" in told
    assert "inherits" in told
    assert "have no time" in told
    assert "generated" in "".join(obstacle.what for obstacle in found["day"].obstacles)
    assert "inherits" in "".join(o.what for o in suggestions(session)["child"].best.obstacles)


def test_a_table_cut_by_time_is_judged_by_its_partitions(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table t (id int, updated_at timestamptz, at timestamptz, primary key (id, at))"
        " partition by range (at);"
        " create table early partition of t for values from (minvalue) to ('2026-01-11');"
        " create table late partition of t for values from ('2026-01-11') to (maxvalue)"
    )
    source_db.execute(
        f"insert into t select 1, now(), m from ({moments('m')}) x; analyze early; analyze late"
    )
    found = suggestions(session)["t"]
    assert found.is_worth_it
    assert "cut by time already" in found.reasons
    assert found.best.name == "at"
    assert found.best.rows_per_day == pytest.approx(ROWS_PER_DAY, rel=0.15)
    assert found.best.span_days == pytest.approx(DAYS, rel=0.15)
    [obstacle] = found.best.obstacles
    assert "partitioned" in obstacle.what


def test_only_what_may_be_a_time_is_found(source_db: Database, session: Session) -> None:
    source_db.execute(
        """
        create table none (id bigint, at_home bool, name text);
        create table count (time int, times bigint generated always as identity);
        insert into count (time) select i from generate_series(1, 1000) i;
        create table identity (created_at bigint generated by default as identity);
        create table unknown (event_ts bigint);
        create table empty (at timestamp);
        analyze count;
        """
    )
    found = suggestions(session)
    assert set(found) == {"unknown", "empty"}
    assert not any(suggestion.is_worth_it for suggestion in found.values())
    assert "never analyzed" in found["unknown"].best.obstacles[0].what
    assert found["unknown"].best.interval.integer is None
    assert found["empty"].best.interval.text == "7 days"
    assert found["empty"].best.rows_per_day is None


def test_large_tables_that_are_appended_to_are_worth_it(source_db: Database, session: Session) -> None:
    """A row count of the catalog is enough to be large; the counters tell whether rows change."""
    source_db.execute(
        "create table log (at timestamptz); create table state (at timestamptz); create table small (at date)"
    )
    for table in ("log", "state"):
        source_db.execute(f"insert into {table} {moments('m')}; analyze {table}")
    source_db.execute("update state set at = at")
    source_db.execute(
        "select pg_stat_force_next_flush();"
        " update pg_class set reltuples = 2e6 where relname in ('log', 'state')"
    )
    names = [table.name for table in list_tables(session)]
    found = suggest_hypertables(session, names)
    assert [(suggestion.table.table, suggestion.is_worth_it) for suggestion in found] == [
        ("log", True),
        ("small", False),
        ("state", False),
    ]
    assert "changed often" in "".join(found[2].reasons)


def test_a_column_that_moves_comes_after_one_that_stays(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table t (updated_at timestamptz, expires timestamptz, day date, created timestamp)"
    )
    assert [column.name for column in suggestions(session)["t"].columns] == [
        "created",
        "day",
        "updated_at",
        "expires",
    ]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_statement_names_odd_tables_and_columns(source_db: Database, session: Session, name: str) -> None:
    source_db.execute(
        sql.SQL("create schema {0}; create table {1} ({0} timestamptz)").format(
            sql.Identifier(name), sql.Identifier(name, name)
        )
    )
    table = TableName(name, name)
    [found] = suggest_hypertables(session, [table, TableName("public", "gone")])
    statement = hypertable_statement(session, table, found.best.name, found.best.interval.text)
    [parsed] = pglast.parse_sql(statement)
    assert parsed is not None
    # What is inside its quotes names the table and the column for PostgreSQL too.
    inner = statement.removeprefix("select public.create_hypertable(").partition("::regclass")[0]
    assert source_db.query(f"select {inner}::regclass::oid::int8") == [(oid_of(source_db, name),)]
    column = statement.partition("public.by_range(")[2].rpartition(", '7 days'")[0]
    assert source_db.query(f"select {column}") == [(name,)]
    assert statement.endswith(", '7 days'::interval), create_default_indexes => false)")


def oid_of(database: Database, name: str) -> int:
    return int(database.query("select oid::int8 from pg_class where relname = %s", [name])[0][0])


def test_an_integer_is_cut_in_what_it_counts(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (ts bigint)")
    source_db.execute(f"insert into t select extract(epoch from m) * 1000 from ({moments('m')}) x; analyze t")
    best = suggestions(session)["t"].best
    assert best.interval.integer is not None
    statement = hypertable_statement(session, TableName("public", "t"), best.name, best.interval.integer)
    assert statement == (
        "select public.create_hypertable('\"public\".\"t\"'::regclass, public.by_range('ts', "
        "2592000000::bigint), create_default_indexes => false)"
    )
