"""Size: long transactions, thousands of tables, many subtransactions; memory and time stay bounded."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.faults.migrating import all_ready, states
from tests.faults.running import RunProcess
from tests.waiting import wait_until

MOST_MEMORY_BYTES = 300 * 1024 * 1024

_CONTENT = "select count(*), sum(hashtextextended(item::text, 0)) from item"


def both(source: Database, target: Database, ddl: str) -> None:
    """Create the same objects on both sides."""
    source.execute(ddl)
    target.execute(ddl)


def peak_memory_bytes(pid: int) -> int:
    """The largest resident size a process has had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system does not say how much memory a process has used")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def wait_same_position(source: Database, target: Database, log: Path, timeout_seconds: float) -> None:
    """Until the target has recorded everything written on the source so far."""
    fence = str(source.query("select pg_current_wal_flush_lsn()")[0][0])
    wait_until(
        lambda: target.query("select lsn >= %s::pg_lsn from _ts_live_sync.progress", [fence]) == [(True,)],
        timeout_seconds,
        describe=lambda: log.read_text()[-2000:],
    )


@pytest.mark.parametrize("rows", [300_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_one_huge_transaction_is_applied_within_bounded_memory(
    rows: int, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int, note text)")
    source_db.execute("create publication pub for table item")
    log = tmp_path / "run.log"
    timeout_seconds = 60 + rows / 2500
    with RunProcess(source_db, target_db, log) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        source_db.execute(
            f"insert into item select n, n % 100, 'note ' || n from generate_series(1, {rows}) n;"
            f"update item set n = -1 where id % 10 = 0; delete from item where id % 25 = 0"
        )
        wait_same_position(source_db, target_db, log, timeout_seconds)
        peak_bytes = peak_memory_bytes(process.pid)
        assert process.terminate() == 0, log.read_text()
    assert target_db.query(_CONTENT) == source_db.query(_CONTENT)
    assert peak_bytes < MOST_MEMORY_BYTES


def test_one_huge_transaction_of_wide_rows_is_applied_within_bounded_memory(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    columns = ", ".join(f"c{number} int default {number}" for number in range(100))
    both(source_db, target_db, f"create table item (id int primary key, blob text, {columns})")
    source_db.execute("alter table item alter blob set storage external")
    source_db.execute("create publication pub for table item")
    log = tmp_path / "run.log"
    with RunProcess(source_db, target_db, log) as process:
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        source_db.execute("insert into item (id, blob) select n, 'b' || n from generate_series(1, 40000) n")
        source_db.execute(
            "insert into item (id, blob) select -n, repeat(n || ' ', 400000) from generate_series(1, 60) n"
        )
        wait_same_position(source_db, target_db, log, 120)
        peak_bytes = peak_memory_bytes(process.pid)
        assert process.terminate() == 0, log.read_text()
    assert target_db.query(_CONTENT) == source_db.query(_CONTENT)
    assert peak_bytes < MOST_MEMORY_BYTES


@pytest.mark.parametrize("tables", [120, pytest.param(3000, marks=pytest.mark.slow)])
def test_thousands_of_tables_in_one_publication_all_become_ready(
    tables: int, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    for database in (source_db, target_db):
        with database.connect() as connection:
            for first in range(0, tables, 200):
                connection.execute(
                    "".join(
                        f"create table t{number} (id int primary key, n int);"
                        for number in range(first, min(first + 200, tables))
                    ).encode()
                )
    with source_db.connect() as connection:
        for number in range(tables):
            connection.execute(f"insert into t{number} values (1, {number})".encode())
    source_db.execute("create publication pub for tables in schema public")
    log = tmp_path / "run.log"
    with RunProcess(source_db, target_db, log) as process:
        wait_until(
            lambda: states(target_db) == {"r": tables},
            60 + tables,
            describe=lambda: (states(target_db), log.read_text()[-2000:]),
        )
        with source_db.connect() as connection, connection.transaction():
            for number in range(tables):
                connection.execute(f"insert into t{number} values (2, {-number})".encode())
                connection.execute(f"update t{number} set n = n + 1 where id = 1".encode())
        wait_same_position(source_db, target_db, log, 60 + tables / 10)
        peak_bytes = peak_memory_bytes(process.pid)
        assert process.terminate() == 0, log.read_text()
    with target_db.connect() as connection:
        for number in range(tables):
            found = connection.execute(f"select id, n from t{number} order by id".encode()).fetchall()
            assert found == [(1, number + 1), (2, -number)], number
    assert peak_bytes < MOST_MEMORY_BYTES


def test_ten_thousand_subtransactions_arrive_in_order(source_db: Database, target_db: Database) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item values (0, 0)")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "do $$begin for i in 1..10000 loop begin"
            " insert into item values (i, i); update item set n = n + i where id = 0;"
            " if i % 3 = 0 then raise exception 'undone'; end if;"
            " exception when raise_exception then null; end; end loop; end$$"
        )
        migration.wait_applied()
        assert target_db.query("select count(*) from item") == [(6668,)]
        migration.assert_equal("item")


def test_many_rows_of_a_rolled_back_subtransaction_do_not_arrive(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, "create table item (id int primary key, n int)")
    source_db.execute("insert into item select n, n from generate_series(1, 1000) n")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "begin; update item set n = -1 where id = 1; savepoint undone;"
            "insert into item select n, n from generate_series(2001, 200000) n;"
            "update item set n = 0; delete from item where id < 500; rollback to undone;"
            "insert into item values (2001, 1); commit"
        )
        migration.wait_applied()
        assert target_db.query("select count(*), min(n) from item") == [(1001, -1)]
        migration.assert_equal("item")


@pytest.fixture
def preparing_db(server_base: Path) -> Iterator[Database]:
    """A database on a server that allows prepared transactions."""
    server = EmbeddedServer.create(
        16,
        server_base / f"preparing_{secrets.token_hex(3)}",
        settings={"max_prepared_transactions": "5", "shared_buffers": "16MB"},
    )
    server.start()
    database = Database(server, "preparing")
    database.create()
    yield database
    server.stop("immediate")


def test_prepared_transactions_arrive_when_they_are_committed(
    preparing_db: Database, target_db: Database
) -> None:
    both(preparing_db, target_db, "create table item (id int primary key, n int)")
    preparing_db.execute("insert into item select n, n from generate_series(1, 10) n")
    preparing_db.execute("create publication pub for table item")
    with Migration(preparing_db, target_db) as migration:
        migration.wait_ready()
        preparing_db.execute(
            "begin; update item set n = 100 where id = 1; delete from item where id = 2;"
            "insert into item values (11, 11); prepare transaction 'kept'"
        )
        preparing_db.execute("begin; update item set n = 500 where id = 5; prepare transaction 'undone'")
        preparing_db.execute("update item set n = 300 where id = 3")
        migration.wait_applied()
        assert target_db.query("select id from item where n >= 100 or id > 10") == [(3,)]
        migration.restart()
        migration.wait_ready()
        preparing_db.execute("update item set n = 400 where id = 4")
        preparing_db.execute("commit prepared 'kept'")
        preparing_db.execute("rollback prepared 'undone'")
        migration.wait_applied()
        assert target_db.query("select id from item where n >= 100 or id > 10 order by id") == [
            (1,),
            (3,),
            (4,),
            (11,),
        ]
        migration.assert_equal("item")


def test_a_transaction_prepared_before_the_start_is_named_and_copied_once_it_is_committed(
    preparing_db: Database, target_db: Database
) -> None:
    both(preparing_db, target_db, "create table item (id int primary key, n int)")
    preparing_db.execute("insert into item values (1, 1)")
    preparing_db.execute("create publication pub for table item")
    preparing_db.execute(
        "begin; insert into item values (2, 2); update item set n = 5; prepare transaction 'forgotten one'"
    )
    with Migration(preparing_db, target_db) as migration:
        wait_until(
            lambda: any("'forgotten one'" in event.text for event in migration.engine.events(0)),
            describe=lambda: migration.engine.events(0),
        )
        preparing_db.execute("commit prepared 'forgotten one'")
        migration.wait_ready()
        preparing_db.execute("insert into item values (3, 3)")
        migration.wait_applied()
        assert target_db.query("select id, n from item order by id") == [(1, 5), (2, 5), (3, 3)]


def test_a_transaction_prepared_before_a_table_is_published_arrives_once(
    preparing_db: Database, target_db: Database
) -> None:
    both(preparing_db, target_db, "create table item (id int primary key, n int)")
    both(preparing_db, target_db, "create table late (id int primary key, n int)")
    both(preparing_db, target_db, "create table keyless (n int)")
    preparing_db.execute("insert into late values (1, 1); insert into keyless values (1)")
    preparing_db.execute("create publication pub for table item")
    with Migration(preparing_db, target_db) as migration:
        migration.wait_ready()
        # The apply stream's slot is older than the transaction, the slots of the new tables are younger.
        preparing_db.execute(
            "begin; insert into item values (1, 1); insert into late values (2, 2); update late set n = 5;"
            "insert into keyless values (2); prepare transaction 'in between'"
        )
        preparing_db.execute("alter publication pub add table late, keyless")
        preparing_db.execute("insert into keyless values (3)")
        migration.engine.refresh_publication()
        wait_until(
            lambda: any("'in between'" in event.text for event in migration.engine.events(0)),
            describe=lambda: migration.engine.events(0),
        )
        assert target_db.query("select 1 from item") == []
        preparing_db.execute("commit prepared 'in between'")
        wait_until(lambda: len(migration.snapshot.tables) == 3, describe=lambda: migration.snapshot.tables)
        migration.wait_ready()
        preparing_db.execute("insert into keyless values (4); update late set n = n + 1")
        migration.wait_applied()
        migration.assert_equal("item", "late", "keyless")
        assert rows_of(target_db, "keyless") == ["(1)", "(2)", "(3)", "(4)"]
