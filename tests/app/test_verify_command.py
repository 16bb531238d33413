"""``livesync-tui verify`` as a person at a shell and a script see it, beside ``livesync-tui run``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.app.test_bad_input import SECRET, command, refused
from tests.conftest import Database
from tests.waiting import wait_until

_STATES = "select state from _ts_live_sync.subscription_rel"


@pytest.fixture
def databases(source_db: Database, target_db: Database) -> dict[str, str]:
    """Three published tables; what a command takes."""
    for database in (source_db, target_db):
        database.execute(
            "create table item (id int primary key, secret text); create table other (n int);"
            "create table odd (key text primary key)"
        )
    source_db.execute(
        "insert into item select n, 'hidden' from generate_series(1, 100) n; insert into other values (1);"
        "insert into odd values (E'\\x1b[2J\r\n[bold]');"
        "create publication pub for table item, other, odd"
    )
    return {"source": source_db.conninfo, "target": target_db.conninfo}


@contextmanager
def running(target_db: Database, databases: dict[str, str]) -> Iterator[None]:
    """``livesync-tui run`` in a process of its own, both tables ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "livesync_tui", "run", "--publication", "pub", "--subscription", "test"],
        env=os.environ | {name.upper(): value for name, value in databases.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def is_ready() -> bool:
            assert process.poll() is None
            found = target_db.query("select to_regclass('_ts_live_sync.subscription_rel') is not null")
            return found == [(True,)] and target_db.query(_STATES) == [("r",)] * 3

        wait_until(is_ready)
        yield
    finally:
        process.terminate()
        assert process.wait(90) == 0


def test_the_exit_code_and_the_lines_tell_what_differs(
    source_db: Database, target_db: Database, databases: dict[str, str]
) -> None:
    with running(target_db, databases):
        source_db.execute("insert into item values (101, 'hidden')")
        result = command("verify", "--subscription", "test", **databases)
        assert (result.returncode, result.stderr) == (0, "")
        lines = result.stdout.splitlines()
        assert lines[0].startswith("Both sides at ")
        assert lines[1:4] == [
            "  equal  public.item  101 rows",
            "  equal  public.odd  1 row",
            "  equal  public.other  1 row",
        ]
        assert lines[4].startswith("3 tables, 103 rows compared, 0 differ, ")
        target_db.execute(
            "update item set secret = 'damaged' where id = 7; delete from item where id = 8;delete from odd"
        )
        result = command("verify", "--subscription", "test", **databases)
        assert (result.returncode, result.stderr) == (4, "")
        assert result.stdout.splitlines()[1:6] == [
            "  DIFFERENT  public.item  101 rows on the source, 100 on the target",
            "      differs: id = '7'",
            "      only on the source: id = '8'",
            "  DIFFERENT  public.odd  1 row on the source, 0 on the target",
            r"      only on the source: key = '\x1b[2J\r\n[bold]'",
        ]
        result = command("verify", "--subscription", "test", "--json", **databases)
        assert (result.returncode, result.stderr) == (4, "")
        document = json.loads(result.stdout)
        assert document["equal"] is False
        assert document["standstill_seconds"] >= 0
        assert document["tables"][0]["differing"] == [
            {"kind": "differs", "row": "id = '7'"},
            {"kind": "missing on target", "row": "id = '8'"},
        ]
        assert document["tables"][2]["equal"] is True
        assert "hidden" not in result.stdout
        result = command("verify", "--subscription", "test", "--quick", "--json", **databases)
        assert result.returncode == 4
        assert json.loads(result.stdout)["tables"][0]["differing"] == []
    target_db.execute(
        "update _ts_live_sync.subscription_rel set last_error = 'said' where tablename <> 'other'"
    )
    result = command("verify", "--subscription", "test", **databases)
    assert (result.returncode, result.stderr) == (3, "")
    assert "  not compared  public.item  set aside: said" in result.stdout.splitlines()
    source_db.execute("insert into other values (2)")
    refused(
        3,
        "No engine is running",
        "livesync-tui run",
        arguments=("verify", "--subscription", "test"),
        **databases,
    )


def test_what_cannot_be_verified_is_one_sentence(source_db: Database, target_db: Database) -> None:
    verify = ("verify", "--subscription", "test")
    databases = {"source": source_db.conninfo, "target": target_db.conninfo}
    refused(3, "knows no subscription test", arguments=verify, **databases)
    nowhere = f"postgresql://me:{SECRET}@127.0.0.1:1/nowhere"
    refused(1, "target", arguments=verify, source=source_db.conninfo, target=nowhere)
    refused(2, "Not A Name", arguments=("verify", "--subscription", "Not A Name"), **databases)
    refused(2, "--subscription", arguments=("verify",), **databases)
