"""Bad input gets one sentence on stderr and the right exit code, never a traceback or a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.faults.running import RunProcess
from tests.waiting import wait_until

SECRET = "s3cr3t-pässw0rd"


def command(*arguments: str, source: str = "", target: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``livesync-tui`` without a terminal."""
    environment = {name: value for name, value in os.environ.items() if name not in ("SOURCE", "TARGET")}
    environment |= {name: value for name, value in (("SOURCE", source), ("TARGET", target)) if value}
    return subprocess.run(
        [sys.executable, "-m", "livesync_tui", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(
    code: int, *words: str, arguments: tuple[str, ...] = (), source: str = "", target: str = ""
) -> None:
    """Run ``run`` (or ``arguments``) and expect ``code`` and one sentence with all ``words`` in it."""
    result = command(
        *(arguments or ("run", "--publication", "pub", "--subscription", "test")),
        source=source,
        target=target,
    )
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert len(lines) == 1, lines
    assert lines[0].startswith("livesync-tui: ")
    for word in words:
        assert word in lines[0], lines[0]
    for text in (result.stdout, result.stderr):
        assert "Traceback" not in text
        assert SECRET not in text
        assert "postgres:" not in text


@pytest.fixture
def published(source_db: Database, target_db: Database) -> None:
    """One table on both sides, published."""
    for database in (source_db, target_db):
        database.execute("create table item (id int primary key, name text)")
    source_db.execute("create publication pub for table item")


def test_no_connection_string() -> None:
    refused(2, "source", "--source")


def test_unreadable_connection_string(target_db: Database) -> None:
    refused(
        2, "cannot be read", source=f"postgresql://u:{SECRET}@h:5x/db?nonsense=1", target=target_db.conninfo
    )


def test_wrong_password(source_db: Database, target_db: Database) -> None:
    wrong = source_db.server.conninfo(source_db.name, password=SECRET)
    refused(1, "source", "password", source=wrong, target=target_db.conninfo)


def test_unreachable_host(source_db: Database) -> None:
    refused(1, "target", source=source_db.conninfo, target="postgresql://u:pw@127.0.0.1:1/db")


def test_unknown_host(target_db: Database) -> None:
    refused(1, "host name", source="postgresql://u:pw@no.such.host.invalid/db", target=target_db.conninfo)


def test_unknown_database(source_db: Database, target_db: Database) -> None:
    refused(
        1,
        "database",
        "does not exist",
        source=source_db.server.conninfo("nowhere"),
        target=target_db.conninfo,
    )


def test_unknown_publication(source_db: Database, target_db: Database) -> None:
    refused(3, "no publication pub", source=source_db.conninfo, target=target_db.conninfo)


def test_publication_for_all_tables(source_db: Database, target_db: Database) -> None:
    source_db.execute("create publication pub for all tables")
    refused(3, "ALL TABLES", source=source_db.conninfo, target=target_db.conninfo)


def test_missing_table(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table item (id int primary key); create publication pub for table item")
    refused(
        3, "public.item", "lacks", "Restore the schema", source=source_db.conninfo, target=target_db.conninfo
    )


def test_missing_column(source_db: Database, target_db: Database, published: None) -> None:
    target_db.execute("alter table item drop column name")
    refused(
        3,
        "public.item",
        "column name",
        'Run on the target: alter table "public"."item" add column "name" text; Then run again.',
        source=source_db.conninfo,
        target=target_db.conninfo,
    )


def test_different_columns_in_two_publications(
    source_db: Database, target_db: Database, published: None
) -> None:
    source_db.execute("create publication pub2 for table item (id)")
    refused(
        3,
        "pub and pub2 publish different columns of the table public.item",
        "alter publication pub2 drop table public.item;",
        arguments=("run", "--publication", "pub", "--publication", "pub2", "--subscription", "test"),
        source=source_db.conninfo,
        target=target_db.conninfo,
    )


def test_same_database(source_db: Database, published: None) -> None:
    refused(3, "same database", source=source_db.conninfo, target=source_db.conninfo)


def test_missing_replication_right(source_db: Database, target_db: Database, published: None) -> None:
    role = f"plain_{os.getpid()}"
    source_db.execute(f"create role {role} login password '{SECRET}'; grant select on item to {role}")
    try:
        plain = source_db.server.conninfo(source_db.name, user=role, password=SECRET)
        refused(3, role, "replicat", source=plain, target=target_db.conninfo)
    finally:
        source_db.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize(
    ("table_map", "word"),
    [
        ("{", "not JSON"),
        ('{"source": {"schema": "a"}}', "source"),
        ('{"source": {"schema": "a", "table": "("}, "target": {"schema": "b", "table": "c"}}', "expression"),
    ],
)
def test_malformed_table_map(table_map: str, word: str, source_db: Database, target_db: Database) -> None:
    refused(
        2,
        "--table-map number 1",
        word,
        arguments=("run", "--publication", "p", "--subscription", "s", "--table-map", table_map),
        source=source_db.conninfo,
        target=target_db.conninfo,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--subscription", "s"),
        ("run", "--publication", "p", "--subscription", "s", "--table-sync-workers", "none"),
        ("run", "--publication", "p", "--subscription", "s", "--copy-data", "perhaps"),
        ("nonsense",),
        ("status",),
    ],
)
def test_usage(arguments: tuple[str, ...]) -> None:
    refused(2, arguments=arguments)


def test_unusable_subscription_name(source_db: Database, target_db: Database, published: None) -> None:
    refused(
        2,
        "Bad-Name",
        arguments=("run", "--publication", "pub", "--subscription", "Bad-Name"),
        source=source_db.conninfo,
        target=target_db.conninfo,
    )


@pytest.mark.parametrize("name", ["status", "refresh-publication", "copy-sequences"])
def test_unknown_subscription(name: str, source_db: Database, target_db: Database) -> None:
    refused(
        3,
        "no subscription ghost",
        arguments=(name, "--subscription", "ghost"),
        source=source_db.conninfo,
        target=target_db.conninfo,
    )


def test_drop_of_nothing_is_fine(source_db: Database, target_db: Database) -> None:
    result = command("drop", "--subscription", "ghost", source=source_db.conninfo, target=target_db.conninfo)
    assert result.returncode == 0, result.stderr


def test_second_engine(source_db: Database, target_db: Database, published: None, tmp_path: Path) -> None:
    with RunProcess(source_db, target_db, tmp_path / "log", subscription="test") as process:
        wait_until(
            lambda: target_db.query(
                "select 1 from pg_locks where locktype = 'advisory' and database ="
                " (select oid from pg_database where datname = current_database())"
            ),
            describe=(tmp_path / "log").read_text,
        )
        refused(3, "Another engine", "pid", source=source_db.conninfo, target=target_db.conninfo)
        assert process.is_alive
        assert process.terminate() == 0


def test_a_slot_of_somebody_else_is_left_alone(
    source_db: Database, target_db: Database, published: None
) -> None:
    source_db.execute("select pg_create_logical_replication_slot('live_sync_test', 'pgoutput')")
    refused(3, "live_sync_test", source=source_db.conninfo, target=target_db.conninfo)
    assert source_db.query("select 1 from pg_replication_slots where slot_name = 'live_sync_test'") == [(1,)]


@pytest.fixture
def small_server(server_base: Path) -> Iterator[EmbeddedServer]:
    """A source that is not set up for replication."""
    server = EmbeddedServer.create(
        16, server_base / "small", settings={"wal_level": "replica", "max_replication_slots": "0"}
    )
    server.start()
    yield server
    server.stop("immediate")


def test_source_settings_and_standby(small_server: EmbeddedServer, target_db: Database) -> None:
    database = Database(small_server, "postgres")
    database.execute("create table item (id int primary key); create publication pub for table item")
    target_db.execute("create table item (id int primary key)")
    refused(3, "wal_level", source=database.conninfo, target=target_db.conninfo)
    for setting in ("wal_level = logical", "max_replication_slots = 1"):
        database.execute(f"alter system set {setting}")
    small_server.stop()
    small_server.start()
    database.execute("select pg_create_physical_replication_slot('somebody')")
    refused(
        3, "replication slots of the source are taken", source=database.conninfo, target=target_db.conninfo
    )
    small_server.stop()
    (small_server.directory / "data" / "standby.signal").touch()
    small_server.start()
    refused(3, "standby", source=database.conninfo, target=target_db.conninfo)
