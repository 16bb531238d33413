"""Which row a change means: replica identities of every kind, and columns that did not arrive."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import closing
from itertools import product

import pytest

from engine.catalog.table import TableName
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.replication.apply import Applier
from engine.replication.batch import CommitPoint, TableStoppedError
from engine.replication.gather import Gatherer
from engine.replication.subscription import REPLICA_ROLE
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of


@pytest.fixture(autouse=True, params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a change: small batches would otherwise never take the fast one."""
    changes = 0 if request.param == "batched" else 1_000_000
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", changes)
    return str(request.param)


def both(source: Database, target: Database, ddl: str) -> None:
    """Create the same objects on both sides."""
    source.execute(ddl)
    target.execute(ddl)


def pick(condition: str, table: str = "item") -> str:
    """A condition that one row of those that meet ``condition`` meets."""
    return f"ctid = (select ctid from {table} where {condition} limit 1)"


DOCUMENT = """
create table doc (id int, a text, b text, c bytea, n int, primary key (id));
alter table doc alter a set storage external, alter b set storage external, alter c set storage external;
"""
IDENTITIES = {
    "default": "",
    "index": "create unique index doc_id on doc (id); alter table doc replica identity using index doc_id",
    "full": "alter table doc replica identity full",
}
TOASTED = ("a", "b", "c")
MIXES = [
    tuple(c for c, chosen in zip(TOASTED, flags, strict=True) if chosen)
    for flags in product([0, 1], repeat=3)
]


def updates_of(rows: Sequence[tuple[int, tuple[str, ...], int]]) -> list[str]:
    """For (id, columns to change, distance the key moves): the statements."""
    statements = []
    for row_id, columns, distance in rows:
        assignments = [f"n = n + 1, id = id + {distance}"]
        for column in columns:
            value = f"repeat('new {column} ' || n, 500)"
            assignments.append(f"{column} = " + (f"convert_to({value}, 'UTF8')" if column == "c" else value))
        statements.append(f"update doc set {', '.join(assignments)} where id = {row_id}")
    return statements


@pytest.mark.parametrize("identity", IDENTITIES)
def test_unchanged_toast_is_kept_in_every_mix_of_columns_and_key_changes(
    identity: str, source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, DOCUMENT + IDENTITIES[identity])
    insert = (
        "insert into doc select n, repeat('a' || n, 3000), repeat('b' || n, 3000),"
        " convert_to(repeat('c' || n, 3000), 'UTF8'), 0 from generate_series({}, {}) n"
    )
    # Each row is updated twice, with every pair of mixes; its key changes never, first, last or both times.
    plans = list(product(MIXES, MIXES, [(0, 0), (5000, 0), (0, 5000), (5000, 5000)]))
    source_db.execute(insert.format(1, len(plans)))
    source_db.execute("create publication pub for table doc")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        first = updates_of([(n, plan[0], plan[2][0]) for n, plan in enumerate(plans, 1)])
        second = updates_of([(n + plan[2][0], plan[1], plan[2][1]) for n, plan in enumerate(plans, 1)])
        half = len(plans) // 2
        # One transaction for half of them, so that both updates of a row meet in a batch.
        source_db.execute("begin; " + "; ".join([*first[:half], *second[:half]]) + "; commit")
        with source_db.connect() as connection, connection.pipeline():
            for statement in [*first[half:], *second[half:]]:
                connection.execute(statement)
        source_db.execute(
            f"begin; {insert.format(20_001, 20_008)}; "
            + "; ".join(updates_of([(20_001 + n, mix, n % 2 * 100) for n, mix in enumerate(MIXES)]))
            + "; delete from doc where id = 20001; "
            + insert.format(20_001, 20_001)
            + "; update doc set n = 7 where id > 20000; commit"
        )
        migration.wait_applied()
        migration.assert_equal("doc")
        lengths = target_db.query("select min(least(length(a), length(b), length(c))), count(*) from doc")
        assert lengths[0][0] > 2000
        assert lengths[0][1] == len(plans) + 8
        toast = "select pg_relation_size(reltoastrelid) > 0 from pg_class where relname = 'doc'"
        assert source_db.query(toast) == [(True,)]


LONG_KEY = """
create table doc (key text not null, n int, other text) with (toast_tuple_target = 128);
alter table doc alter key set storage external, alter other set storage external;
create unique index doc_key on doc (key);
alter table doc replica identity using index doc_key;
"""


def test_a_key_in_toast_names_its_row_when_the_source_sends_it(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, LONG_KEY)
    source_db.execute(
        "insert into doc select n || repeat('k', 2500), n, repeat('o', 3000) from generate_series(1, 9) n"
    )
    assert source_db.query(
        "select pg_relation_size(reltoastrelid) > 0 from pg_class where relname = 'doc'"
    ) == [(True,)]
    source_db.execute("create publication pub for table doc")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update doc set n = n + 100 where n < 4")
        source_db.execute("update doc set other = 'short' where n in (4, 101)")
        source_db.execute("update doc set key = 'new' || key where n = 5")
        source_db.execute("update doc set key = 'now short' where n = 6")
        source_db.execute("delete from doc where n = 7")
        source_db.execute(
            "begin; insert into doc values (repeat('z', 2500), 50, null); update doc set n = 51 where n = 50;"
            "update doc set n = 52 where n = 51; delete from doc where n = 8; commit"
        )
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        migration.assert_equal("doc")


def _text(value: bytes) -> bytes:
    return b"t" + struct.pack("!i", len(value)) + value


def test_a_key_in_toast_that_was_not_sent_stops_the_table_in_plain_words(target_db: Database) -> None:
    # Sources before 14.2 (13.6, …) do not log such a key; these bytes are what pgoutput makes of that.
    target_db.execute(LONG_KEY)
    target_db.execute("insert into doc values (repeat('k', 2500), 1, 'secret')")
    relation = (
        b"R" + struct.pack("!I", 42) + b"public\0doc\0i" + struct.pack("!H", 3)
        + b"\x01key\0" + struct.pack("!Ii", 25, -1)
        + b"\x00n\0" + struct.pack("!Ii", 23, -1)
        + b"\x00other\0" + struct.pack("!Ii", 25, -1)
    )  # fmt: skip
    update = (
        b"U" + struct.pack("!I", 42) + b"N" + struct.pack("!H", 3) + b"u" + _text(b"2") + _text(b"secret")
    )
    begin = b"B" + struct.pack("!QqI", 1000, 0, 7)
    commit = b"C" + struct.pack("!BQQq", 0, 1000, 1100, 0)
    endpoint = parse_endpoint(Side.TARGET, target_db.conninfo)
    # Closed as it is, like the engine does: in the middle of a pipeline it takes no commit.
    with closing(open_session(endpoint, "test", extra=REPLICA_ROLE)) as session:
        applier = Applier(
            session, sharers=lambda oid: (), should_stop=lambda: False, tolerates_missing_rows=False
        )
        gatherer = Gatherer(
            0, target_of=lambda oid, final_lsn: TableName("public", "doc"), describe=applier.describe
        )

        def apply() -> None:
            for payload in (begin, relation, update, commit):
                gatherer.take(b"w" + bytes(24) + payload)
            applier.write(gatherer.take_batch(CommitPoint(gatherer.position, ())), lambda: None)

        with pytest.raises(TableStoppedError) as stopped:
            apply()
    assert stopped.value.source_oid == 42
    sentence = stopped.value.failure.sentence()
    assert "public.doc has a replica identity column in TOAST that was not sent" in sentence
    assert "REPLICA IDENTITY FULL" in sentence
    assert "secret" not in sentence
    assert target_db.query("select n from doc") == [(1,)]


FULL_TABLE = """
create type mood as enum ('sad', 'ok');
create type pair as (n numeric, label text);
create table item (id int, {first} f8 float8, f4 float4, amount numeric, doc json, extra jsonb, m mood,
                   p pair, ps pair[], label text, big text {last});
alter table item alter big set storage external, replica identity full;
"""
_ROW = ["1", "'NaN'", "'-0'", "1.0", "'{\"a\": 1}'", "'{\"a\": 1}'", "'ok'", "'(1.0,x)'"]
_ROW += ["""'{"(1.0,)",NULL}'""", "''", "repeat('b', 5000)"]
_ONE_CELL_ELSE = {
    0: ("null", "2"),
    1: ("null", "'0'", "'-0'", "'Infinity'"),
    2: ("null", "'0'", "'NaN'"),
    3: ("null", "1.00", "1", "'NaN'"),
    4: ("null", """'{"a":1}'""", "'null'"),
    5: ("null", """'{"a": 1.0}'""", "'null'"),
    6: ("null", "'sad'"),
    7: ("null", "'(1.00,x)'", "'(1.0,)'", "'(,)'"),
    8: ("null", """'{"(1.00,)",NULL}'""", """'{NULL,"(1.0,)"}'""", "'{}'", "'{NULL}'"),
    9: ("null", "' '"),
    10: ("null", "repeat('c', 5000)", "repeat('b', 4999)"),
}
_ROWS = [_ROW, ["null"] * len(_ROW)] + [
    [*_ROW[:position], other, *_ROW[position + 1 :]]
    for position, others in _ONE_CELL_ELSE.items()
    for other in others
]
FULL_ROWS = "insert into item (id, f8, f4, amount, doc, extra, m, p, ps, label, big) values " + ", ".join(
    f"({', '.join(row)})" for row in _ROWS
)
"""Rows that differ in one cell each, some of them in nothing that an operator would see."""


def test_full_identity_tells_rows_apart_that_merely_look_equal(
    source_db: Database, target_db: Database
) -> None:
    # Columns that were dropped, at other places on each side, are no part of a row.
    source_db.execute(FULL_TABLE.format(first="gone int,", last="") + "; alter table item drop gone")
    target_db.execute(
        FULL_TABLE.format(first="", last=", gone text default 'x', gone2 int")
        + "; alter table item drop gone"
    )
    target_db.execute("alter table item drop gone2")
    copies = 3
    for _ in range(copies):
        source_db.execute(FULL_ROWS)
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        migration.assert_equal("item")
        for _ in range(copies):
            source_db.execute(FULL_ROWS)
        count = source_db.query("select count(*) from item")[0][0]
        # Of each kind of row one is deleted, one updated and one updated to itself.
        first = "ctid in (select min(ctid) from item group by item::text)"
        source_db.execute(f"delete from item where {first}")
        source_db.execute(f"update item set id = coalesce(id, 0) + 1 where {first}")
        source_db.execute(f"update item set id = id, big = big where {first}")
        source_db.execute(f"update item set big = repeat('d', 4000) where {first} and id is not null")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        migration.assert_equal("item")
        assert len(rows_of(target_db, "item")) == count - len(_ROWS)


@pytest.mark.parametrize("same_transaction", [True, False])
def test_each_change_under_full_identity_takes_one_of_three_equal_rows(
    same_transaction: bool, source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (kind text, n int); alter table item replica identity full")
    changes = [
        "delete from item where " + pick("kind = 'deleted'"),
        "update item set n = 2 where " + pick("kind = 'updated' and n = 1"),
        # Becomes equal to others, and leaves them again.
        "update item set kind = 'deleted' where " + pick("kind = 'joins'"),
        "update item set kind = 'leaves', n = 3 where " + pick("kind = 'deleted'"),
        "insert into item values ('deleted', 1), ('deleted', 1)",
        "delete from item where " + pick("kind = 'deleted'"),
        "update item set n = null where " + pick("kind is null and n = 1"),
        "delete from item where " + pick("kind is null and n is null"),
    ]
    source_db.execute(
        "insert into item select kind, 1 from unnest(array['deleted', 'updated', 'joins', null]) kind,"
        " generate_series(1, 3)"
    )
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        if same_transaction:
            source_db.execute(f"begin; {'; '.join(changes)}; commit")
        else:
            for change in changes:
                source_db.execute(change)
        migration.wait_applied()
        migration.assert_equal("item")
        assert rows_of(target_db, "item") == sorted(
            ["(deleted,1)"] * 3
            + ["(leaves,3)"]
            + ["(joins,1)"] * 2
            + ["(updated,1)"] * 2
            + ["(updated,2)"]
            + ["(,1)"] * 2
        )


def test_a_unique_index_over_some_columns_names_the_row(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        'create table item (id int primary key, gone int, b text collate "C" not null, a int not null,'
        " n int);"
        "alter table item drop gone; create unique index item_ab on item (a desc, b);"
        "alter table item replica identity using index item_ab",
    )
    source_db.execute("insert into item select n, 'b' || n % 10, n / 10, n from generate_series(1, 99) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update item set n = -n where a = 3")
        source_db.execute("update item set id = id + 1000 where b = 'b4'")
        source_db.execute("update item set a = a + 50, b = upper(b) where a = 5")
        source_db.execute("delete from item where b = 'b7'")
        source_db.execute(
            "begin; delete from item where a = 1; insert into item values (7, 'b1', 1, 0); commit"
        )
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        migration.assert_equal("item")


def test_identity_nothing_takes_inserts_and_truncates(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table item (id int primary key, n int); alter table item replica identity nothing",
    )
    source_db.execute("insert into item values (1, 1)")
    source_db.execute("create publication pub for table item with (publish = 'insert, truncate')")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "begin; truncate item; insert into item select n, n from generate_series(5, 60) n; commit"
        )
        source_db.execute("insert into item values (1, null)")
        migration.wait_applied()
        migration.assert_equal("item")
        assert len(rows_of(target_db, "item")) == 57


SWITCHES = ["full", "using index item_other", "default", "using index item_other", "full", "default"]


def test_the_identity_may_be_switched_while_changes_flow(source_db: Database, target_db: Database) -> None:
    both(
        source_db,
        target_db,
        "create table item (id int primary key, other int not null, note text, big text);"
        "alter table item alter big set storage external; create unique index item_other on item (other)",
    )
    source_db.execute("insert into item select n, -n, null, repeat('x', 3000) from generate_series(1, 100) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        for step, identity in enumerate(SWITCHES):
            work = [
                f"update item set note = '{identity} {step}' where id % 5 = {step % 5}",
                f"update item set id = id + 1000 where id % 7 = {step}",
                f"update item set other = other - 1000 where other % 11 = -{step}",
                f"delete from item where id % 50 = {step + 20}",
                f"insert into item values ({9000 + step}, {9000 + step}, 'new', repeat('y', 3000))",
            ]
            switch = f"alter table item replica identity {identity}"
            # The switch comes between two transactions, and in the midst of one.
            if step % 2:
                source_db.execute(f"begin; {'; '.join(work[:3])}; {switch}; {'; '.join(work[3:])}; commit")
            else:
                source_db.execute(switch)
                source_db.execute("; ".join(work))
            if step % 3 == 0:
                migration.wait_applied()
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        migration.assert_equal("item")


@pytest.mark.parametrize("switch", ["", "alter table item replica identity full"])
def test_the_target_needs_no_identity_of_its_own(
    switch: str, source_db: Database, target_db: Database
) -> None:
    source_db.execute(f"create table item (id int primary key, note text); {switch}")
    target_db.execute("create table item (note text, id bigint)")
    source_db.execute("insert into item select n, 'n' from generate_series(1, 50) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("update item set note = null where id < 20; delete from item where id % 3 = 0")
        source_db.execute("update item set id = -id where id < 10")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside
        migration.assert_equal("item")


OWN = """
create table item (id int primary key, n int, note text, secret text, own text default 'default',
                 stamp int generated {stamps} as identity (start with 1000));
"""
"""On the target: a column that is not published, one with a default, one that numbers itself."""


@pytest.mark.parametrize("stamps", ["always", "by default"])
def test_columns_that_do_not_arrive_live_and_die_with_their_row(
    stamps: str, source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        "create table item (id int primary key, n int, note text, secret text);"
        "alter table item alter note set storage external"
    )
    target_db.execute(OWN.format(stamps=stamps))
    source_db.execute("insert into item select n, n, repeat('x', 2500), 's' from generate_series(1, 12) n")
    source_db.execute("create publication pub for table item (id, n, note)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("update item set own = 'own ' || id, secret = 'kept', stamp = default")
        before = dict(target_db.query("select id, stamp from item"))
        source_db.execute(
            # The same row, though its key moves away, back, or far; with the long value and without.
            "begin; update item set n = -1 where id = 1; update item set id = 102, n = 0 where id = 2;"
            "update item set id = 103, note = 'c' where id = 3; update item set id = 3 where id = 103;"
            "update item set n = 5, note = 'd' where id = 4;"
            "update item set id = 104, note = 'e' where id = 4;"
            # Another row that has its key.
            "delete from item where id = 5; insert into item values (5, 55, 'again', 't');"
            "update item set n = 66 where id = 6; delete from item where id = 6;"
            "insert into item values (6, 67, 'again', 't'); update item set n = 68 where id = 6;"
            "delete from item where id = 7; update item set id = 7, note = 'moved' where id = 8;"
            "delete from item where id = 9; insert into item values (9, 9, 'a', 't');"
            "update item set id = 109, note = 'b' where id = 9; insert into item values (9, 10, 'c', 't');"
            "delete from item where id = 10; insert into item values (10, 1, 'a', 't');"
            "delete from item where id = 10; insert into item values (200, 1, 'a', 't');"
            "update item set id = 201, n = 2 where id = 200; commit"
        )
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        landed = {row[0]: row[1:] for row in target_db.query("select id, n, secret, own, stamp from item")}
    expected = dict(source_db.query("select id, n from item"))
    assert {key: row[0] for key, row in landed.items()} == expected
    same_row = {1: 1, 102: 2, 3: 3, 104: 4, 7: 8, 11: 11, 12: 12}
    new_row = {5, 6, 9, 109, 201}
    assert same_row.keys() | new_row == expected.keys()
    for key, old_key in same_row.items():
        assert landed[key][1:] == ("kept", f"own {old_key}", before[old_key]), key
    numbers = [landed[key][3] for key in new_row]
    for key in new_row:
        assert landed[key][1:3] == (None, "default"), key
    assert len(set(numbers)) == len(new_row)
    assert min(numbers) > max(before.values())


@pytest.mark.parametrize("identity", ["", "alter table item replica identity full"])
def test_a_row_that_has_to_be_replaced_keeps_what_did_not_arrive(
    identity: str, source_db: Database, target_db: Database
) -> None:
    # An identity column that is no part of the key cannot be in SET: the update deletes and inserts.
    source_db.execute(f"create table item (id int primary key, number int); {identity}")
    target_db.execute(
        "create table item (own text default 'default', id int primary key,"
        " number int generated always as identity, twice int generated always as (id * 2) stored)"
    )
    source_db.execute("insert into item select n, n from generate_series(1, 50) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("update item set own = 'own ' || id")
        source_db.execute("update item set number = number + 100 where id < 20")
        source_db.execute("update item set id = id + 1000, number = 0 where id > 40")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        landed = target_db.query("select id, number, own, twice from item order by id")
        assert landed == [
            (key, number, f"own {key % 1000}", key * 2)
            for key, number in source_db.query("select id, number from item order by id")
        ]


NARROW = {
    "varchar": ("text", "varchar(5)", "abcde", "abcdefgh", "z"),
    "char": ("text", "char(5)", "abcde", "abcdefgh", "z"),
    "bit": ("varbit", "bit(3)", "101", "10111", "000"),
    "varbit": ("varbit", "varbit(3)", "101", "10111", "0"),
    "array of varchar": ("text[]", "varchar(5)[]", "{abcde,x}", "{abcdefgh,x}", "{z}"),
    "array of char": ("text[]", "char(2)[]", "{ab}", "{abc}", "{z}"),
    "numeric": ("numeric", "numeric(6,2)", "1.23", "12345.1", "0"),
    "integer": ("bigint", "int", "7", "5000000000", "0"),
    "smallint": ("int", "smallint", "7", "70000", "0"),
    "domain": ("text", "short", "abcde", "abcdefgh", "z"),
}
"""Types on source and target; a value that fits there, one that might be cut to it, one more that fits."""


KEYS = {"key": "primary key (v)", "full": "check (true)"}


def tables_of(
    types: dict[str, tuple[str, str]], identity: str, source: Database, target: Database
) -> tuple[str, ...]:
    """A published table for each pair of source and target type of the column v, in their order."""
    names = tuple(f"item_{number}" for number in range(len(types)))
    target.execute("create domain short as varchar(5)")
    for name, (source_type, target_type) in zip(names, types.values(), strict=True):
        source.execute(f"create table {name} (v {source_type}, n int, {KEYS[identity]})")
        target.execute(f"create table {name} (v {target_type}, n int, {KEYS[identity]})")
        if identity == "full":
            source.execute(f"alter table {name} replica identity full")
    source.execute(f"create publication pub for table {', '.join(names)}")
    return names


@pytest.mark.parametrize("change", ["insert", "update"])
@pytest.mark.parametrize("identity", KEYS)
def test_a_value_that_does_not_fit_the_targets_column_is_refused_not_cut(
    identity: str, change: str, source_db: Database, target_db: Database
) -> None:
    tables = tables_of({name: row[:2] for name, row in NARROW.items()}, identity, source_db, target_db)
    for table, (_, _, fits, _, _) in zip(tables, NARROW.values(), strict=True):
        source_db.execute(f"insert into {table} values ('{fits}', 1)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        before = {table: rows_of(target_db, table) for table in tables}
        for table, (_, _, _, too_long, _) in zip(tables, NARROW.values(), strict=True):
            source_db.execute(
                f"insert into {table} values ('{too_long}', 2)"
                if change == "insert"
                else f"update {table} set v = '{too_long}'"
            )
        for name, table in zip(NARROW, tables, strict=True):
            error = migration.wait_set_aside(f"public.{table}")
            assert f"The target refused the {change}" in error, name
            assert "SQLSTATE 22" in error, name
    assert {table: rows_of(target_db, table) for table in tables} == before


@pytest.mark.parametrize("change", ["update {} set v = '{}'", "delete from {}"])
@pytest.mark.parametrize("identity", KEYS)
def test_a_row_that_cannot_be_on_the_target_never_names_another_one(
    identity: str, change: str, source_db: Database, target_db: Database
) -> None:
    tables = tables_of({name: row[:2] for name, row in NARROW.items()}, identity, source_db, target_db)
    for table, (_, _, fits, too_long, _) in zip(tables, NARROW.values(), strict=True):
        source_db.execute(f"insert into {table} values ('{too_long}', 1)")
        target_db.execute(f"insert into {table} values ('{fits}', 1)")
    # Without a copy a missing row is no error, so nothing but the comparison protects the other row.
    with Migration(source_db, target_db, copy_data=False) as migration:
        migration.wait_ready()
        before = {table: rows_of(target_db, table) for table in tables}
        for table, (*_, other) in zip(tables, NARROW.values(), strict=True):
            source_db.execute(change.format(table, other))
        migration.wait_applied()
    for name, table in zip(NARROW, tables, strict=True):
        assert rows_of(target_db, table) == before[table], name


ROUNDED = {
    "numeric": ("numeric", "numeric(6,2)", ("1.234", "5.6789", "7")),
    "array of numeric": ("numeric[]", "numeric(6,2)[]", ("{1.234}", "{5.6789,NULL}", "{}")),
    "timestamp": (
        "timestamp",
        "timestamp(0)",
        ("2024-01-01 00:00:00.4", "2024-01-01 00:00:01.6", "2024-02-01"),
    ),
    "timestamptz": (
        "timestamptz",
        "timestamptz(3)",
        ("2024-01-01 00:00:00.4444Z", "2024-01-01 00:00:01.66666Z", "2024-02-01Z"),
    ),
    "interval": ("interval", "interval(0)", ("1.4 s", "2.6 s", "1 day")),
    "time": ("time", "time(1)", ("00:00:01.44", "00:00:02.66", "03:00")),
    "padded": ("text", "char(5)", ("a", "b ", "")),
    "trailing spaces": ("text", "varchar(3)", ("a    ", "bcd  ", "c")),
}
"""Types whose values the target rounds, pads or trims on assignment: COPY took them, so changes find them."""


@pytest.mark.parametrize("identity", KEYS)
def test_a_row_is_found_by_what_the_target_made_of_its_value(
    identity: str, source_db: Database, target_db: Database
) -> None:
    tables = tables_of({name: row[:2] for name, row in ROUNDED.items()}, identity, source_db, target_db)
    for table, (_, _, (first, second, _)) in zip(tables, ROUNDED.values(), strict=True):
        source_db.execute(f"insert into {table} values ('{first}', 1), ('{second}', 2)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        for table, (_, _, (first, second, third)) in zip(tables, ROUNDED.values(), strict=True):
            source_db.execute(f"insert into {table} values ('{third}', 3)")
            source_db.execute(f"update {table} set n = 10 where v = '{first}'")
            source_db.execute(f"update {table} set n = 30 where v = '{third}'")
            source_db.execute(f"delete from {table} where v = '{second}'")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        for table, (_, target_type, (first, _, third)) in zip(tables, ROUNDED.values(), strict=True):
            assert target_db.query(f"select v::text, n from {table} order by n") == target_db.query(
                f"select v::{target_type}::text, n from (values ('{first}', 10), ('{third}', 30)) x (v, n)"
            )
