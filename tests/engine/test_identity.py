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
from engine.replication.apply import Applier, PositionStatement, TableStoppedError
from engine.replication.protocol import XLogData
from engine.replication.subscription import REPLICA_ROLE
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of

pytestmark = pytest.mark.slow


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


class EveryTableItself:
    """Applies each change to the table of its own name and records nothing."""

    def target_of(self, source_oid: int, final_lsn: int) -> TableName | None:
        return TableName("public", "doc")

    def position_statements(self, position: int) -> tuple[PositionStatement, ...]:
        return ()

    def applied(self, source_oid: int, changes: int) -> None:
        pass


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
            session, EveryTableItself(), 0, should_stop=lambda: False, tolerates_missing_rows=False
        )

        def apply() -> None:
            for payload in (begin, relation, update, commit):
                applier.take(XLogData(0, payload))
            applier.commit()

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
