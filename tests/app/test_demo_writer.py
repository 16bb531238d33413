"""The demo's writers keep writing through an application's ordinary trouble, and stop when told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livesync_tui.demo.dataset import SMALLEST_ROWS, create_demo
from livesync_tui.demo.writer import APPLICATION_NAME, DemoWriter
from tests.conftest import Database
from tests.waiting import wait_until


@pytest.fixture
def shop(source_db: Database) -> Database:
    create_demo(source_db.conninfo, SMALLEST_ROWS)
    return source_db


@pytest.fixture
def writer(shop: Database) -> Iterator[DemoWriter]:
    """Fast enough that every kind of transaction comes up soon."""
    made = DemoWriter(shop.conninfo, transactions_per_second=3000)
    made.start()
    yield made
    made.stop()


def wait_for_more(writer: DemoWriter, transactions: int) -> None:
    before = writer.transactions_committed
    wait_until(
        lambda: writer.transactions_committed >= before + transactions or writer.failure,
        describe=lambda: f"{writer.transactions_committed - before} of {transactions} transactions",
    )
    assert writer.failure is None


def test_it_inserts_updates_deletes_truncates_and_changes_keys(shop: Database, writer: DemoWriter) -> None:
    shop.execute("create table truncated (at timestamptz)")
    shop.execute(
        "create function note_truncate() returns trigger language plpgsql set search_path = public as"
        " $$ begin insert into truncated values (now()); return null; end $$;"
        "create trigger note after truncate on shop.import_lines execute function public.note_truncate()"
    )
    wait_until(lambda: shop.query("select from truncated limit 1"), describe="a TRUNCATE")
    wait_until(
        lambda: shop.query("select from shop.payments where id::text ~ '^.{14}4' and paid_at > '2026-01-01'"),
        describe="a payment whose key became a random one",
    )
    for change in ("ins", "upd", "del"):
        wait_until(
            lambda change=change: shop.query(
                f"select from pg_stat_user_tables where relname = 'payments' and n_tup_{change} > 10"
            ),
            describe=change,
        )
    wait_until(
        lambda: shop.query("select from shop.audit_log where action = 'status'"),
        describe="the trigger's line in the audit log",
    )
    assert writer.failure is None


def test_it_changes_the_table_without_a_key_only_when_that_is_allowed(
    shop: Database, writer: DemoWriter
) -> None:
    shop.execute("create publication everything for all tables")
    changed = "select n_tup_upd + n_tup_del from pg_stat_user_tables where relname = 'audit_log'"
    wait_for_more(writer, 500)
    assert shop.query(changed) == [(0,)]
    shop.execute("alter table shop.audit_log replica identity full")
    wait_until(lambda: shop.query(changed) > [(10,)], describe="updates of shop.audit_log")
    shop.execute("alter table shop.audit_log replica identity default")
    wait_for_more(writer, 1000)


def test_stopping_ends_its_sessions_and_starting_again_goes_on(shop: Database, writer: DemoWriter) -> None:
    wait_for_more(writer, 50)
    writer.stop()
    assert not writer.running
    wait_until(
        lambda: (
            shop.query(
                "select count(*) = 0 from pg_stat_activity where application_name = %s", [APPLICATION_NAME]
            )
            == [(True,)]
        ),
        describe="the sessions to be gone",
    )
    orders = shop.query("select count(*), max(id) from shop.orders")
    committed = writer.transactions_committed
    assert shop.query("select count(*), max(id) from shop.orders") == orders
    assert writer.transactions_committed == committed
    writer.start()
    wait_for_more(writer, 50)


def test_it_keeps_the_pace_it_was_given(shop: Database) -> None:
    writer = DemoWriter(shop.conninfo, transactions_per_second=40, sessions=1)
    writer.start()
    wait_until(lambda: writer.transactions_committed >= 20)
    [[seconds]] = shop.query(
        "select extract(epoch from clock_timestamp() - backend_start)::float8 from pg_stat_activity"
        " where application_name = %s",
        [APPLICATION_NAME],
    )
    writer.stop()
    # Slower is a busy machine; faster would be wrong.
    assert seconds > 0.4
    assert writer.failure is None


def test_it_comes_back_after_the_server_died(shop: Database, writer: DemoWriter) -> None:
    wait_for_more(writer, 50)
    shop.server.kill()
    shop.server.start()
    wait_for_more(writer, 50)


def test_it_gives_up_when_the_source_becomes_read_only(shop: Database, writer: DemoWriter) -> None:
    wait_for_more(writer, 50)
    with shop.connect() as connection:
        connection.execute(f'alter database "{shop.name}" set default_transaction_read_only = on')
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
            [APPLICATION_NAME],
        )
    wait_until(lambda: not writer.running, describe="the writers to end")
    assert "read-only" in str(writer.failure)


def test_a_wrong_password_is_told_at_once_and_not_repeated(shop: Database) -> None:
    writer = DemoWriter(shop.server.conninfo(shop.name, password="sesame-typo"))
    writer.start()
    wait_until(lambda: not writer.running)
    assert "refused the password" in str(writer.failure)
    assert "sesame" not in str(writer.failure)
    writer.stop()


def test_a_database_without_the_shop_is_a_failure_and_not_an_exception(source_db: Database) -> None:
    writer = DemoWriter(source_db.conninfo)
    writer.start()
    wait_until(lambda: not writer.running)
    assert "shop.customers" in str(writer.failure)
    writer.stop()
