"""``livesync-tui run --schema``: an empty target is enough, and what is not built yet is never forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.test_bad_input import command, refused
from tests.conftest import Database
from tests.faults.migrating import all_ready
from tests.faults.running import RunProcess
from tests.waiting import wait_until

RUN = ("run", "--publication", "pub", "--subscription", "night", "--schema")


@pytest.fixture
def published(source_db: Database) -> None:
    source_db.execute(
        "create table customer (id int primary key, name text);"
        "create table sale (id int primary key, customer int constraint of_customer references customer);"
        "create unique index customer_name on customer (name);"
        "insert into customer values (1, 'a'), (2, 'b'); insert into sale values (1, 1), (2, 2);"
        "create publication pub for table customer, sale"
    )


def not_built(target: Database) -> int:
    return len(target.query("select 1 from _ts_live_sync.deferred where state <> 'done'"))


def test_an_empty_target_is_enough(
    source_db: Database, target_db: Database, published: None, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    arguments = ("--schema", "--index-jobs", "1", "--maintenance-work-mem", "8MB")
    with RunProcess(source_db, target_db, log, arguments=arguments) as process:
        wait_until(lambda: "The schema is complete" in log.read_text(), describe=log.read_text)
        wait_until(lambda: all_ready(target_db), describe=log.read_text)
        assert process.terminate() == 0, log.read_text()
    assert "Built index customer_name (" in log.read_text()
    assert target_db.query("select count(*) from sale") == [(2,)]
    assert target_db.query("select conname from pg_constraint where contype = 'f'") == [("of_customer",)]
    status = command("status", "--subscription", "night", target=target_db.conninfo)
    assert status.returncode == 0
    assert "not built" not in status.stdout


def test_status_and_drop_tell_what_the_target_refused(
    source_db: Database, target_db: Database, published: None, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    # Not a NULL, so that a row without its customer comes to the target without PostgreSQL's minding it.
    source_db.execute("set session_replication_role = replica; insert into sale values (3, 77)")
    with RunProcess(source_db, target_db, log, arguments=("--schema",)) as process:
        wait_until(lambda: "The target refused" in log.read_text(), describe=log.read_text)
        wait_until(lambda: not_built(target_db) == 1, describe=log.read_text)
        source_db.execute("insert into customer values (3, 'c')")
        wait_until(lambda: target_db.query("select 1 from customer where id = 3"), describe=log.read_text)
        assert process.terminate() == 0, log.read_text()
    status = ("status", "--subscription", "night")
    text = command(*status, target=target_db.conninfo)
    assert text.returncode == 1
    assert "fk validation sale of_customer: failed" in text.stdout
    assert 'violates foreign key constraint "of_customer"' in text.stdout
    found = command(*status, "--json", target=target_db.conninfo)
    assert found.returncode == 1
    (step,) = json.loads(found.stdout)["not_built"]
    assert (step["kind"], step["state"]) == ("FK VALIDATION", "failed")
    assert "of_customer" in step["last_error"]
    dropped = command("drop", "--subscription", "night", source=source_db.conninfo, target=target_db.conninfo)
    assert dropped.returncode == 0
    assert "ALTER TABLE public.sale VALIDATE CONSTRAINT of_customer;" in dropped.stdout
    assert target_db.query("select 1 from pg_namespace where nspname = '_ts_live_sync'") == []


def test_what_does_not_go_together_is_said(source_db: Database, target_db: Database) -> None:
    table_map = '{"source": {"schema": "a"}, "target": {"schema": "b"}}'
    for words, arguments in (
        (("--table-map", "own name"), ("--table-map", table_map)),
        (("--copy-data false",), ("--copy-data", "false")),
        (("--maintenance-work-mem", "512MB"), ("--maintenance-work-mem", "lots")),
        (("--index-jobs",), ("--index-jobs", "0")),
    ):
        refused(
            2,
            *words,
            arguments=(*RUN, *arguments),
            source=source_db.conninfo,
            target=target_db.conninfo,
        )
