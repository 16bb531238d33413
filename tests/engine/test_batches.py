"""Orders of changes that writing by net effect would break, and batches larger than one flush."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import psycopg
import pytest

from engine.replication.bulk import BulkWriter
from engine.replication.change_statement import ChangeStatements
from engine.replication.coalesce import NetChanges
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of


@pytest.fixture(params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a change: small batches would otherwise never take the fast one."""
    changes = 0 if request.param == "batched" else 1_000_000
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", changes)
    return str(request.param)


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is tried the fast way."""
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", 0)


def small_batches(monkeypatch: pytest.MonkeyPatch, *, changes: int = 10**6, size_bytes: int = 10**9) -> None:
    """Have a large transaction written in several batches."""
    monkeypatch.setattr("engine.replication.stream._BURST_MESSAGES", 20)
    monkeypatch.setattr("engine.replication.change_stream.BATCH_CHANGES", changes)
    monkeypatch.setattr("engine.replication.change_stream.BATCH_BYTES", size_bytes)


@dataclass
class Seen:
    """What the appliers of a test did."""

    written: list[str] = field(default_factory=list)
    """Tables written by net effect without an objection, a name a batch."""

    fallbacks: int = 0


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Watches the real writers, changes nothing."""
    record = Seen()
    write, roll_back = BulkWriter.write, BulkWriter.roll_back

    def watched_write(writer: BulkWriter, statements: ChangeStatements, changes: NetChanges) -> None:
        write(writer, statements, changes)
        record.written.append(statements.source_name.table)

    def watched_roll_back(writer: BulkWriter) -> None:
        record.fallbacks += 1
        roll_back(writer)

    monkeypatch.setattr(BulkWriter, "write", watched_write)
    monkeypatch.setattr(BulkWriter, "roll_back", watched_roll_back)
    return record


def both(source: Database, target: Database, ddl: str) -> None:
    """Create the same objects on both sides."""
    source.execute(ddl)
    target.execute(ddl)


@dataclass(frozen=True)
class Case:
    """Rows and what happens to them; each of ``transactions`` is one source transaction."""

    ddl: str
    rows: str
    transactions: tuple[str, ...]
    expected: list[str]


_PLAIN = "create table item (id int primary key, n int, note text)"
_THREE = "insert into item values (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')"
_UNIQUE = "create table item (id int primary key, n int unique, note text)"

CASES = {
    "two rows swap a unique value": Case(
        _UNIQUE,
        _THREE,
        (
            "update item set n = null where id = 1; update item set n = 10 where id = 2;"
            "update item set n = 20 where id = 1",
        ),
        ["(1,20,a)", "(2,10,b)", "(3,30,c)"],
    ),
    "a unique value moves to a row that comes later": Case(
        _UNIQUE,
        _THREE,
        (
            "update item set note = 'touched' where id = 2; update item set n = 11 where id = 1;"
            "update item set n = 10 where id = 2",
        ),
        ["(1,11,a)", "(2,10,touched)", "(3,30,c)"],
    ),
    "a unique value goes from a new row to an old one": Case(
        _UNIQUE,
        _THREE,
        (
            "insert into item values (4, 40, 'd'); update item set n = 41 where id = 4;"
            "update item set n = 40 where id = 1",
        ),
        ["(1,40,a)", "(2,20,b)", "(3,30,c)", "(4,41,d)"],
    ),
    "delete and insert of one key in one transaction": Case(
        _PLAIN,
        _THREE,
        ("delete from item where id = 2; insert into item values (2, 21, 'again')",),
        ["(1,10,a)", "(2,21,again)", "(3,30,c)"],
    ),
    "delete and insert of one key in several transactions": Case(
        _PLAIN,
        _THREE,
        (
            "delete from item where id = 2",
            "insert into item values (2, 21, 'again')",
            "delete from item where id = 2",
            "insert into item values (2, 22, null)",
        ),
        ["(1,10,a)", "(2,22,)", "(3,30,c)"],
    ),
    "a chain of keys": Case(
        _PLAIN,
        _THREE,
        (
            "update item set id = 4 where id = 3; update item set id = 3 where id = 2;"
            "update item set id = 2 where id = 1",
        ),
        ["(2,10,a)", "(3,20,b)", "(4,30,c)"],
    ),
    "a ring of keys": Case(
        _PLAIN,
        _THREE,
        (
            "update item set id = 9 where id = 1; update item set id = 1 where id = 3;"
            "update item set id = 3 where id = 2; update item set id = 2 where id = 9",
        ),
        ["(1,30,c)", "(2,10,a)", "(3,20,b)"],
    ),
    "a key moves onto one deleted in the same transaction": Case(
        _PLAIN,
        _THREE,
        ("delete from item where id = 1; update item set id = 1 where id = 2",),
        ["(1,20,b)", "(3,30,c)"],
    ),
    "a key moves away and back": Case(
        _PLAIN,
        _THREE,
        ("update item set id = 7 where id = 1; update item set id = 1, n = 0 where id = 7",),
        ["(1,0,a)", "(2,20,b)", "(3,30,c)"],
    ),
    "update, delete and insert of the same key": Case(
        _PLAIN,
        _THREE,
        (
            "update item set n = 11 where id = 1; delete from item where id = 1;"
            "insert into item values (1, 12, 'new'); update item set note = 'newer' where id = 1",
        ),
        ["(1,12,newer)", "(2,20,b)", "(3,30,c)"],
    ),
    "insert, update and delete within the batch": Case(
        _PLAIN,
        _THREE,
        (
            "insert into item values (5, 50, 'e'); update item set n = 51 where id = 5;"
            "update item set id = 6 where id = 5; delete from item where id = 6",
        ),
        ["(1,10,a)", "(2,20,b)", "(3,30,c)"],
    ),
    "many updates of the same row": Case(
        _PLAIN,
        _THREE,
        ("do $$begin for i in 1..500 loop update item set n = n + i, note = i where id = 1;end loop; end$$",),
        ["(1,125260,500)", "(2,20,b)", "(3,30,c)"],
    ),
    "rows that refer to rows of their own table": Case(
        "create table item (id int primary key, parent int references item (id), note text)",
        "insert into item values (1, null, 'root'), (2, 1, 'child')",
        (
            "insert into item values (4, null, 'late parent'), (3, 4, 'x'), (5, 5, 'its own');"
            "update item set parent = 3 where id = 2; update item set parent = 2 where id = 1;"
            "update item set parent = null where id = 3; delete from item where id = 4",
        ),
        ["(1,2,root)", "(2,3,child)", "(3,,x)", '(5,5,"its own")'],
    ),
    "two rows swap ranges that exclude each other": Case(
        "create table item (id int primary key, during int4range, exclude using gist (during with &&))",
        "insert into item values (1, '[1,5)'), (2, '[5,9)'), (3, '[20,30)')",
        (
            "update item set during = 'empty' where id = 1; update item set during = '[1,5)' where id = 2;"
            "update item set during = '[5,9)' where id = 1; delete from item where id = 3;"
            "insert into item values (4, '[25,40)')",
        ),
        ['(1,"[5,9)")', '(2,"[1,5)")', '(4,"[25,40)")'],
    ),
    "values double for a moment under a deferred constraint": Case(
        "create table item (id int primary key, n int unique deferrable initially deferred, note text)",
        _THREE,
        (
            "update item set n = 20 where id = 1; insert into item values (4, 20, 'd');"
            "update item set n = 10 where id = 2; update item set n = 40 where id = 4",
        ),
        ["(1,20,a)", "(2,10,b)", "(3,30,c)", "(4,40,d)"],
    ),
    "a constraint is deferred by the transaction only": Case(
        "create table item (id int primary key, n int unique deferrable, note text)",
        _THREE,
        (
            "set constraints all deferred; update item set n = n + 10 where id = 1;"
            "update item set n = n + 10 where id = 2; update item set n = n + 10 where id = 3",
            "update item set n = n - 10",
        ),
        ["(1,10,a)", "(2,20,b)", "(3,30,c)"],
    ),
    "a partial unique index hands its place from row to row": Case(
        "create table item (id int primary key, kind text, active bool);"
        "create unique index on item (kind) where active",
        "insert into item values (1, 'x', true), (2, 'x', false), (3, 'x', false)",
        (
            "update item set active = false where id = 3; update item set active = false where id = 1;"
            "update item set active = true where id = 3",
            "update item set active = false where id = 3; update item set active = true where id = 2",
        ),
        ["(1,x,f)", "(2,x,t)", "(3,x,f)"],
    ),
    "a unique index over several columns and an expression": Case(
        "create table item (id int primary key, a text, b text);create unique index on item (a, lower(b))",
        "insert into item values (1, 'x', 'P'), (2, 'x', 'q'), (3, 'y', 'p')",
        (
            "update item set b = 'tmp' where id = 1; update item set b = 'p' where id = 2;"
            "update item set b = 'Q' where id = 1; delete from item where id = 3;"
            "insert into item values (4, 'y', 'P')",
        ),
        ["(1,x,Q)", "(2,x,p)", "(4,y,P)"],
    ),
    "the one null of a unique index changes rows": Case(
        "create table item (id int primary key, n int unique nulls not distinct)",
        "insert into item values (1, null), (2, 2)",
        (
            "update item set n = 1 where id = 1; update item set n = null where id = 2;"
            "update item set n = 3 where id = 2; update item set n = null where id = 1",
        ),
        ["(1,)", "(2,3)"],
    ),
    "a key of several columns trades parts": Case(
        "create table item (a int, b text, n int, primary key (b, a))",
        "insert into item values (1, 'x', 1), (2, 'x', 2), (1, 'y', 3)",
        (
            "update item set a = 9 where a = 1 and b = 'x'; update item set a = 1 where a = 2;"
            "update item set a = 2 where a = 9; update item set b = 'z' where b = 'y'",
        ),
        ["(1,x,2)", "(1,z,3)", "(2,x,1)"],
    ),
    "what stays in toast survives a move and a second life": Case(
        "create table item (id int primary key, n int, note text);"
        "alter table item alter note set storage external",
        "insert into item select n, n, repeat(n::text, 3000) from generate_series(1, 3) n",
        (
            "update item set n = 11 where id = 1; update item set n = 12 where id = 1;"
            "update item set id = 7 where id = 2; update item set n = 70 where id = 7;"
            "update item set note = 'short' where id = 3; update item set n = 31 where id = 3;"
            "update item set id = 2 where id = 3",
            "update item set note = left(note, 4)",
        ),
        ["(1,12,1111)", "(2,31,shor)", "(7,70,2222)"],
    ),
}


def contents(database: Database) -> list[str]:
    """All rows of the table item as text, columns in table order."""
    return [str(row[0]) for row in database.query("select item::text from item order by 1")]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("way")
def test_arrives_as_it_happened(name: str, source_db: Database, target_db: Database) -> None:
    case = CASES[name]
    both(source_db, target_db, case.ddl)
    source_db.execute(case.rows)
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        for transaction in case.transactions:
            source_db.execute(transaction)
        assert contents(source_db) == case.expected, "the source is not what the case says"
        migration.wait_applied()
        assert contents(target_db) == case.expected
        assert not migration.snapshot.tables_set_aside


TIMINGS = ["deferrable initially immediate", "deferrable initially deferred"]

_PLACES = 60


@pytest.mark.parametrize("timing", TIMINGS)
def test_rows_trade_places_under_deferrable_constraints(
    timing: str, way: str, seen: Seen, source_db: Database, target_db: Database
) -> None:
    both(
        source_db,
        target_db,
        f"create table item (id int not null, code int, n int, during int4range, primary key (code) {timing},"
        f" unique (n) {timing}, exclude using gist (during with &&) {timing});"
        "create unique index item_id on item (id); alter table item replica identity using index item_id",
    )
    source_db.execute(
        f"insert into item select n, n, n, int4range(n, n + 1) from generate_series(1, {_PLACES}) n"
    )
    source_db.execute("create publication pub for table item")
    trade = (
        f"update item set code = code % {_PLACES} + 1, n = {_PLACES} + 1 - n,"
        f" during = int4range(lower(during) % {_PLACES} + 1, lower(during) % {_PLACES} + 2)"
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(trade)
        source_db.execute(f"begin; {trade}; {trade}; delete from item where id = 7; {trade}; commit")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        migration.assert_equal("item")
    assert seen.fallbacks == 0
    assert bool(seen.written) == (way == "batched")
    for column in ("code", "n"):
        assert _found(target_db, column, by_index=True) == _found(target_db, column, by_index=False)
    # Building a unique index anew checks it; an exclusion constraint's index finds what it excludes.
    target_db.execute("reindex table item")
    assert target_db.query("select * from item a join item b on a.during && b.during and a.id < b.id") == []


def _found(database: Database, column: str, *, by_index: bool) -> list[tuple[object, ...]]:
    """The row that each value of ``column`` leads to."""
    with database.connect() as connection:
        connection.execute(f"set enable_seqscan = {not by_index}".encode())
        connection.execute(f"set enable_indexscan = {by_index}".encode())
        connection.execute(f"set enable_indexonlyscan = {by_index}".encode())
        connection.execute(
            "set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off"
        )
        # Offset 0 keeps each look-up apart.
        statement = (
            f"select v, found.* from generate_series(1, {_PLACES}) v left join lateral (select id, code, n,"
            f" during::text from item where {column} = v offset 0) found on true order by 1"
        ).encode()
        plan = "\n".join(str(row[0]) for row in connection.execute(b"explain " + statement))
        assert ("Index Scan" in plan) == by_index, plan
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("timing", TIMINGS)
@pytest.mark.usefixtures("way")
def test_a_row_of_somebody_else_that_a_deferrable_constraint_would_refuse_is_never_taken_for_ours(
    timing: str, source_db: Database, target_db: Database
) -> None:
    # The constraint's recheck is a trigger that replica role keeps quiet, in PostgreSQL's own apply as well.
    source_db.execute("create table item (id int primary key, n int)")
    target_db.execute(f"create table item (id int primary key {timing}, n int)")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("insert into item values (1, -1)")
        source_db.execute("insert into item values (1, 10), (2, 20)")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        assert rows_of(target_db, "item") == ["(1,-1)", "(1,10)", "(2,20)"]
        with pytest.raises(psycopg.errors.UniqueViolation):
            target_db.execute("reindex table item")
        source_db.execute("update item set n = 11 where id = 1; delete from item where id = 2")
        assert "found 2 rows on the target" in migration.wait_set_aside("public.item")
    assert rows_of(target_db, "item") == ["(1,-1)", "(1,10)", "(2,20)"]


@pytest.mark.usefixtures("way")
def test_an_update_of_nothing_but_columns_that_the_target_generates_changes_nothing(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute("create table item (id int primary key, twice int)")
    target_db.execute("create table item (id int primary key, twice int generated always as (id * 2) stored)")
    source_db.execute("insert into item select n, n * 2 from generate_series(1, 50) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update item set twice = 0; update item set twice = id * 2")
        source_db.execute("update item set id = 100, twice = 200 where id = 1")
        migration.wait_applied()
        migration.assert_equal("item")
        assert len(rows_of(target_db, "item")) == 50


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("way")
def test_random_transactions_under_many_constraints(
    seed: int, source_db: Database, target_db: Database
) -> None:
    both(
        source_db,
        target_db,
        "create table item (id int primary key, n int unique, during int4range, kind text,"
        " later int unique deferrable initially deferred, exclude using gist (during with &&));"
        "create unique index on item (kind, (n % 5)) where n is not null;"
        "create table parent (id int primary key, up int references parent, n int)",
    )
    source_db.execute("create publication pub for table item, parent")
    chance = random.Random(seed)
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        with source_db.connect(autocommit=False) as connection:
            committed = sum(_random_transaction(connection, chance) for _ in range(60))
        migration.wait_applied()
        assert committed > 100
        assert len(rows_of(source_db, "item")) > 1
        migration.assert_equal("item", "parent")


def _random_transaction(connection: psycopg.Connection[tuple[object, ...]], chance: random.Random) -> int:
    """Some statements, each behind a savepoint; how many were kept."""
    kept = 0
    for _ in range(chance.randint(1, 25)):
        start = chance.randint(0, 25)
        number = [chance.choice([None, *range(12)]) for _ in range(2)]
        span = chance.choice(["empty", f"[{start},{start + chance.randint(1, 4)})"])
        key, other = chance.randint(1, 12), chance.randint(1, 12)
        statement, values = chance.choice(
            [
                (
                    "insert into item values (%s, %s, %s, %s, %s)",
                    [key, number[0], span, chance.choice("ab"), number[1]],
                ),
                ("update item set n = %s where id = %s", [number[0], key]),
                ("update item set during = %s where id = %s", [span, key]),
                ("update item set later = %s where id in (%s, %s)", [number[1], key, other]),
                ("update item set id = %s where id = %s", [other, key]),
                ("delete from item where id = %s", [key]),
                ("insert into parent values (%s, %s, 0)", [key, chance.choice([None, other, key])]),
                ("update parent set up = %s, n = n + 1 where id = %s", [other, key]),
                ("delete from parent where id = %s", [key]),
            ]
        )
        try:
            with connection.transaction():
                found = connection.execute(statement.encode(), values)
                kept += found.rowcount
        except psycopg.errors.IntegrityError:
            continue
    try:
        connection.commit()
    except psycopg.errors.IntegrityError:
        connection.rollback()
        return 0
    return kept


def _swap_all(table: str) -> str:
    """Neighbours swap their unique values: no single statement can write the net effect."""
    return (
        f"update {table} set n = -n; update {table} set n = case when id % 2 = 1 then id + 1 else id - 1 end"
    )


@pytest.mark.usefixtures("batched")
def test_one_table_falls_back_while_another_stays_fast(
    seen: Seen, source_db: Database, target_db: Database
) -> None:
    both(
        source_db,
        target_db,
        "create table steady (id int primary key, n int);"
        "create table swapped (id int primary key, n int unique)",
    )
    for table in ("steady", "swapped"):
        source_db.execute(f"insert into {table} select n, n from generate_series(1, 100) n")
    source_db.execute("create publication pub for table steady, swapped")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "update steady set n = n + 1; delete from steady where id = 1;" + _swap_all("swapped")
        )
        migration.wait_applied()
        migration.assert_equal("steady", "swapped")
        assert seen.fallbacks == 1
        seen.written.clear()
        source_db.execute(
            "update steady set n = n + 1; delete from steady where id = 2; update swapped set n = n + 1000"
        )
        migration.wait_applied()
        migration.assert_equal("steady", "swapped")
        assert seen.written == ["steady"], "the other one is written change by change for a while"
        assert seen.fallbacks == 1, "nothing that the rollback undid was relied upon"


@pytest.mark.usefixtures("batched")
def test_a_table_that_fell_back_is_tried_the_fast_way_again(
    seen: Seen, source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.replication.apply._SINGLE_BATCHES", 2)
    both(source_db, target_db, "create table swapped (id int primary key, n int unique)")
    source_db.execute("insert into swapped select n, n from generate_series(1, 100) n")
    source_db.execute("create publication pub for table swapped")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(_swap_all("swapped"))
        migration.wait_applied()
        assert (seen.fallbacks, seen.written) == (1, [])
        for _ in range(3):
            source_db.execute("update swapped set n = n + 1000")
            migration.wait_applied()
        assert (seen.fallbacks, seen.written) == (1, ["swapped"])
        migration.assert_equal("swapped")


def test_many_single_changes_that_fail_beside_a_fast_table_set_only_theirs_aside(
    source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", 3000)
    source_db.execute("create table few (id int primary key, n int)")
    target_db.execute("create table few (id int primary key, n int check (n < 10))")
    both(source_db, target_db, "create table many (id int primary key)")
    source_db.execute("create publication pub for table few, many")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        # What comes before a table's first change is a step of its own, so both begin with one.
        source_db.execute(
            "insert into few values (-1, 1); insert into many values (-1); insert into few values (0, 11);"
            "insert into few select n, 1 from generate_series(1, 2900) n;"
            "insert into many select generate_series(1, 4000)"
        )
        assert "few_n_check" in migration.wait_set_aside("public.few")
        migration.wait_applied()
        migration.assert_equal("many")
        assert rows_of(target_db, "few") == []


@pytest.mark.parametrize("limit", ["changes", "bytes"])
@pytest.mark.usefixtures("batched")
def test_a_transaction_of_several_flushes_is_applied_whole(
    limit: str, seen: Seen, source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "changes":
        small_batches(monkeypatch, changes=100)
    else:
        small_batches(monkeypatch, size_bytes=2000)
    both(
        source_db,
        target_db,
        "create table item (id int primary key, n int, note text); create table other (id int primary key)",
    )
    source_db.execute("insert into item select n, n, 'note ' || n from generate_series(1, 500) n")
    source_db.execute("create publication pub for table item, other")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "update item set n = n + 1; delete from item where id % 3 = 0; insert into other values (1);"
            "insert into item select n, n, 'second' from generate_series(3, 500, 3) n;"
            "update item set id = id + 1000 where id % 5 = 0; update item set note = 'third' where id > 1000;"
            "insert into item select n, n, 'last' from generate_series(5, 50, 5) n"
        )
        migration.wait_applied()
        migration.assert_equal("item", "other")
        assert seen.written.count("item") >= 5
        assert seen.fallbacks == 0
        assert target_db.query("select count(distinct xmin::text) from other") == [(1,)]


@pytest.mark.usefixtures("batched")
def test_a_fallback_in_mid_transaction_keeps_the_batches_before_it(
    seen: Seen, source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch, changes=150)
    both(source_db, target_db, "create table item (id int primary key, n int unique)")
    source_db.execute("insert into item select n, n from generate_series(1, 100) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "insert into item select n, n from generate_series(101, 400) n;"
            "update item set n = -n where id <= 100;"
            "update item set n = case when id % 2 = 1 then id + 1 else id - 1 end where id <= 100;"
            "update item set n = n + 10000"
        )
        migration.wait_applied()
        migration.assert_equal("item")
        assert seen.written
        assert seen.fallbacks >= 1


@pytest.mark.parametrize("bad_change", ["insert", "update", "key"])
@pytest.mark.usefixtures("batched")
def test_a_row_that_fails_in_the_third_flush_leaves_nothing_of_its_transaction_half_applied(
    bad_change: str, source_db: Database, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch, changes=100)
    source_db.execute("create table bad (id int primary key, n int)")
    target_db.execute("create table bad (id int primary key, n int check (n < 10))")
    both(source_db, target_db, "create table good (id int primary key, n int)")
    source_db.execute("insert into bad values (1, 1), (2, 2)")
    source_db.execute("create publication pub for table good, bad")
    bad = {
        "insert": "insert into bad values (1001, 11)",
        "update": "update bad set n = 11 where id = 2",
        "key": "update bad set id = 1001, n = 11 where id = 2",
    }[bad_change]
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "insert into bad select n, 3 from generate_series(3, 130) n;"
            "insert into good select n, n from generate_series(1, 130) n;"
            f"update bad set n = 4 where id = 1; {bad};"
            "insert into good select n, n from generate_series(131, 300) n; update good set n = n + 1"
        )
        error = migration.wait_set_aside("public.bad")
        assert "public.bad" in error
        assert "bad_n_check" in error
        migration.wait_applied()
        migration.assert_equal("good")
        assert rows_of(target_db, "bad") == ["(1,1)", "(2,2)"]
        assert [table.source_name for table in migration.snapshot.tables_set_aside] == ["public.bad"]


@pytest.mark.usefixtures("batched")
def test_a_row_missing_on_the_target_is_found_by_a_batch_too(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item select n, n from generate_series(1, 100) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("delete from item where id = 50")
        source_db.execute("update item set n = n + 1")
        assert "found no row on the target" in migration.wait_set_aside("public.item")
    assert "(1,1)" in rows_of(target_db, "item"), "no part of the batch was kept"
