"""The comparison finds every difference, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from engine.catalog.table import TableName
from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.cutover.compare import compare_table, compare_tables
from engine.cutover.outcome import ComparisonProgress, RowDifference, TableComparison
from engine.errors import EngineError, Side
from tests.conftest import Database

Compare = Callable[..., TableComparison]


@pytest.fixture
def compare(source_db: Database, target_db: Database) -> Iterator[Compare]:
    """Compares one table; without a second name it is called the same on both sides."""
    with (
        open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as source,
        open_session(parse_endpoint(Side.TARGET, target_db.conninfo), "test") as target,
    ):

        def call(name: str, target_name: str | None = None, schema: str = "public") -> TableComparison:
            return compare_table(
                source, target, TableName(schema, name), TableName(schema, target_name or name)
            )

        yield call


@pytest.fixture
def both(source_db: Database, target_db: Database) -> Callable[[str], None]:
    def execute(statements: str) -> None:
        source_db.execute(statements)
        target_db.execute(statements)

    return execute


def endpoints(source_db: Database, target_db: Database) -> tuple[Endpoint, Endpoint]:
    return (
        parse_endpoint(Side.SOURCE, source_db.conninfo),
        parse_endpoint(Side.TARGET, target_db.conninfo),
    )


def test_equal_rows_in_another_order_and_other_column_order_are_equal(
    source_db: Database, target_db: Database, compare: Compare
) -> None:
    source_db.execute(
        "create table t (a int, b text); insert into t select n, n::text from generate_series(1, 99) n"
    )
    target_db.execute(
        "create table t (b text, gone int, a int); alter table t drop gone;"
        "insert into t (a, b) select n, n::text from generate_series(99, 1, -1) n"
    )
    compared = compare("t")
    assert compared == TableComparison("public.t", "public.t", 99, 99, equal=True)


def test_one_different_value_names_the_row_of_each_side(
    both: Callable[[str], None], target_db: Database, compare: Compare
) -> None:
    both("create table t (a int, b text); insert into t select n, 'x' from generate_series(1, 99) n")
    target_db.execute("update t set b = 'y' where a = 42")
    compared = compare("t")
    assert not compared.equal
    assert compared.differing == (RowDifference(Side.SOURCE, "(42,x)"), RowDifference(Side.TARGET, "(42,y)"))


def test_missing_and_surplus_rows_are_named_by_the_side_that_has_them(
    both: Callable[[str], None], source_db: Database, target_db: Database, compare: Compare
) -> None:
    both("create table t (a int); insert into t select generate_series(1, 5)")
    source_db.execute("delete from t where a = 2")
    target_db.execute("delete from t where a = 4")
    compared = compare("t")
    assert (compared.source_rows, compared.target_rows, compared.equal) == (4, 4, False)
    assert compared.differing == (RowDifference(Side.TARGET, "(2)"), RowDifference(Side.SOURCE, "(4)"))


def test_duplicates_of_a_keyless_table_are_counted(
    both: Callable[[str], None], source_db: Database, target_db: Database, compare: Compare
) -> None:
    both("create table t (a int); insert into t values (1), (1), (2), (null), (null)")
    assert compare("t").equal
    source_db.execute("insert into t values (1)")
    target_db.execute("insert into t values (2)")
    compared = compare("t")
    assert compared.source_rows == compared.target_rows == 6
    assert compared.differing == (RowDifference(Side.SOURCE, "(1)"), RowDifference(Side.TARGET, "(2)"))


def test_only_the_first_differing_rows_are_named_and_the_sessions_stay_usable(
    both: Callable[[str], None], source_db: Database, compare: Compare
) -> None:
    both("create table t (a text)")
    source_db.execute("insert into t select repeat('x', 500) || n from generate_series(1, 50000) n")
    for _ in range(2):
        compared = compare("t")
        assert len(compared.differing) == 10
        assert all(len(difference.row) == 200 for difference in compared.differing)
        assert compared.differing[0].row.endswith("x…")


def test_rows_that_differ_only_far_behind_their_beginning_differ(
    both: Callable[[str], None], source_db: Database, target_db: Database, compare: Compare
) -> None:
    both("create table t (a text)")
    source_db.execute("insert into t values (repeat('x', 500) || 'source')")
    target_db.execute("insert into t values (repeat('x', 500) || 'target')")
    assert {difference.side for difference in compare("t").differing} == {Side.SOURCE, Side.TARGET}


def test_null_and_the_empty_text_differ(
    both: Callable[[str], None], source_db: Database, target_db: Database, compare: Compare
) -> None:
    both("create table t (a text, b text)")
    source_db.execute("insert into t values (null, '')")
    target_db.execute("insert into t values ('', null)")
    assert compare("t").differing == (
        RowDifference(Side.TARGET, '("",)'),
        RowDifference(Side.SOURCE, '(,"")'),
    )


def test_odd_names_and_texts_are_compared(
    both: Callable[[str], None], target_db: Database, compare: Compare
) -> None:
    both(
        'create schema "Odd %s.""S"; create table "Odd %s.""S"."T {0} %" ("c % {x} ""q" text);'
        r"""insert into "Odd %s.""S"."T {0} %" values (E'tab\t new\nline back\\slash "ü" 😀 \\N'), ('\N')"""
    )
    assert compare("T {0} %", schema='Odd %s."S').equal
    target_db.execute('insert into "Odd %s.""S"."T {0} %" values (E\'a\\tb\\nü\')')
    compared = compare("T {0} %", schema='Odd %s."S')
    assert compared.source == '"Odd %s.""S"."T {0} %"'
    assert compared.differing == (RowDifference(Side.TARGET, '("a\tb\nü")'),)


def test_types_without_equality_and_values_that_differ_from_themselves_are_compared(
    both: Callable[[str], None], target_db: Database, compare: Compare
) -> None:
    both(
        "create table t (a float8, b numeric, c json, d point, e xid, f float4, g bytea, h timestamptz,"
        "i interval);"
        """insert into t values ('NaN', 'NaN', '{"a": 1, "a":2}', '(1,2)', '7', 0.1, """
        """'\\x00ff', 'infinity', '1 mon'),"""
        "(0.1 + 0.2, 1.10, 'null', null, null, '-0', '', '-infinity', '-1 day')"
    )
    assert compare("t").equal
    target_db.execute("update t set b = 1.1 where c::text = 'null'")
    assert not compare("t").equal


def test_settings_of_the_database_that_change_texts_do_not_matter(
    both: Callable[[str], None], source_db: Database, target_db: Database, compare: Compare
) -> None:
    both("create table t (a timestamptz, b float8); insert into t values ('2025-07-01 12:00+02', 1 / 3.0)")
    for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'", "extra_float_digits = -5"):
        target_db.execute(f'alter database "{target_db.name}" set {setting}')
    compared = compare_tables(
        *endpoints(source_db, target_db), [(TableName("public", "t"),) * 2], lambda progress: None
    )
    assert compared[0].equal


def test_generated_columns_are_compared_too(
    source_db: Database, target_db: Database, compare: Compare
) -> None:
    table = "create table t (a int, b int generated always as (a {}) stored); insert into t values (1), (2)"
    source_db.execute(table.format("* 2"))
    target_db.execute(table.format("* a * 2"))
    compared = compare("t")
    assert compared.differing == (RowDifference(Side.SOURCE, "(2,4)"), RowDifference(Side.TARGET, "(2,8)"))


def test_a_partitioned_table_equals_a_plain_one_with_the_same_rows(
    source_db: Database, target_db: Database, compare: Compare
) -> None:
    source_db.execute(
        "create table t (a int) partition by range (a);"
        "create table t1 partition of t for values from (0) to (10);"
        "create table t2 partition of t default; insert into t select generate_series(1, 20)"
    )
    target_db.execute("create table plain (a int); insert into plain select generate_series(1, 20)")
    compared = compare("t", "plain")
    assert (compared.equal, compared.source_rows, compared.target) == (True, 20, "public.plain")


def test_rows_of_tables_that_inherit_are_not_the_parents(
    both: Callable[[str], None], target_db: Database, compare: Compare
) -> None:
    both("create table t (a int); create table child () inherits (t); insert into t values (1)")
    target_db.execute("insert into child values (2)")
    assert compare("t").equal
    assert not compare("child").equal


def test_a_column_that_one_side_lacks_makes_the_table_unequal(
    source_db: Database, target_db: Database, compare: Compare
) -> None:
    source_db.execute("create table t (a int, b int); insert into t values (1, 2)")
    target_db.execute("create table t (a int, c int); insert into t values (1, 3)")
    compared = compare("t")
    assert (compared.equal, compared.differing) == (False, ())
    assert (compared.source_only_columns, compared.target_only_columns) == (("b",), ("c",))


def test_a_table_without_columns_has_only_a_number_of_rows(
    both: Callable[[str], None], target_db: Database, compare: Compare
) -> None:
    both("create table t (); insert into t default values")
    assert compare("t").equal
    target_db.execute("insert into t default values")
    assert compare("t").differing == (RowDifference(Side.TARGET, "()"),)


def test_another_encoding_holds_the_same_texts(
    source_db: Database, target_db: Database, compare: Compare
) -> None:
    source_db.execute(
        "create database latin_compare encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'"
    )
    latin = Database(source_db.server, "latin_compare")
    try:
        for database in (latin, target_db):
            database.execute("create table t (a text); insert into t values ('ü'), ('z'), ('ÿé')")
        pairs = [(TableName("public", "t"),) * 2]
        assert compare_tables(*endpoints(latin, target_db), pairs, lambda progress: None)[0].equal
        target_db.execute("update t set a = 'ä' where a = 'ü'")
        compared = compare_tables(*endpoints(latin, target_db), pairs, lambda progress: None)[0]
        assert compared.differing == (
            RowDifference(Side.TARGET, "(ä)"),
            RowDifference(Side.SOURCE, "(ü)"),
        )
    finally:
        latin.drop()


def test_several_tables_are_compared_in_order_and_one_that_cannot_be_read_is_said(
    both: Callable[[str], None], source_db: Database, target_db: Database
) -> None:
    names = [f"t{number}" for number in range(7)]
    both("".join(f"create table {name} (a int); insert into {name} values (1), (2);" for name in names))
    target_db.execute("drop table t3; delete from t5 where a = 1")
    target_db.execute(
        "drop table t6; create table t6 (a int generated always as (1 / b) virtual, b int default 0);"
        "insert into t6 default values"
    )
    progress: list[ComparisonProgress] = []
    compared = compare_tables(
        *endpoints(source_db, target_db),
        [(TableName("public", name),) * 2 for name in names],
        progress.append,
    )
    assert [table.source for table in compared] == [f"public.{name}" for name in names]
    assert [table.equal for table in compared] == [True, True, True, False, True, False, False]
    assert compared[3].problem == "The target does not have this table"
    assert "division by zero" in (compared[6].problem or "")
    assert [seen.tables_done for seen in progress] == sorted(seen.tables_done for seen in progress)
    assert (progress[-1].tables_done, progress[-1].tables_total) == (7, 7)
    assert progress[-1].rows_compared == sum(table.source_rows for table in compared)


def test_no_tables_are_equal_without_connecting(source_db: Database, target_db: Database) -> None:
    assert compare_tables(*endpoints(source_db, target_db), [], lambda progress: None) == ()


def test_a_server_that_cannot_be_reached_is_an_error(source_db: Database, target_db: Database) -> None:
    source, _ = endpoints(source_db, target_db)
    nowhere = parse_endpoint(Side.TARGET, "host=127.0.0.1 port=1 dbname=x")
    with pytest.raises(EngineError) as raised:
        compare_tables(source, nowhere, [(TableName("public", "t"),) * 2], lambda progress: None)
    assert raised.value.failure.side is Side.TARGET


def test_a_failure_on_one_side_ends_the_other_sides_statement(
    source_db: Database, target_db: Database, compare: Compare
) -> None:
    source_db.execute("create table t (a int); insert into t select generate_series(1, 10)")
    # A virtual column that cannot be computed on the target.
    target_db.execute(
        "create table t (a int generated always as (1 / b) virtual, b int default 0);"
        "insert into t default values"
    )
    with pytest.raises(EngineError, match="division by zero") as raised:
        compare("t")
    assert raised.value.failure.side is Side.TARGET
    source_db.execute("drop table t")
    target_db.execute("drop table t")
    assert compare("t").problem == "The source does not have this table"
