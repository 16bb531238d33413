"""The schema comes out of one server and goes into the other, whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.errors import BlockedError, ConnectionFailedError, EngineError, Side
from engine.schema import programs
from engine.schema.dump import dump_schema
from engine.schema.programs import find_program
from engine.schema.restore import apply_script
from livesync_tui.demo.dataset import create_demo
from tests.conftest import Database

OBJECTS = """
select n.nspname, c.relname, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema' order by 1, 2
"""


@pytest.fixture
def source(source_db: Database) -> Endpoint:
    return parse_endpoint(Side.SOURCE, source_db.conninfo)


@pytest.fixture
def target(target_db: Database) -> Endpoint:
    return parse_endpoint(Side.TARGET, target_db.conninfo)


@pytest.fixture
def no_cache() -> Iterator[None]:
    programs._installed.cache_clear()
    yield
    programs._installed.cache_clear()


def test_the_demo_moves_from_16_to_18(
    source_db: Database, target_db: Database, source: Endpoint, target: Endpoint
) -> None:
    create_demo(source_db.conninfo, rows=1000)
    source_db.execute(
        "create publication p for all tables; create schema _ts_live_sync; create table _ts_live_sync.t ();"
        "comment on schema shop is 'Ünïcode 😀'"
    )
    script = dump_schema(source, 160000)
    assert script.pg_dump.startswith("pg_dump (PostgreSQL) ")
    outcome = apply_script(target, script.text)
    assert (outcome.applied, outcome.error) == (True, "")
    assert outcome.statements > 50
    source_db.execute("drop schema _ts_live_sync cascade")
    assert target_db.query(OBJECTS) == source_db.query(OBJECTS)
    assert target_db.query("select count(*) from pg_publication") == [(0,)]
    assert target_db.query("select count(*) from shop.orders") == [(0,)]
    assert target_db.query("select obj_description('shop'::regnamespace)") == [("Ünïcode 😀",)]


def test_a_script_with_an_error_changes_nothing_and_says_why(target_db: Database, target: Endpoint) -> None:
    outcome = apply_script(target, "create table a (id int);\ncreate table b (id no_such_type);\nselect 1;\n")
    assert not outcome.applied
    assert outcome.statements == 1
    assert 'type "no_such_type" does not exist' in outcome.error
    assert ":2:" in outcome.error
    assert target_db.query(OBJECTS) == []


def test_an_error_at_commit_changes_nothing_either(target_db: Database, target: Endpoint) -> None:
    script = (
        "create table a (id int primary key, b int references a deferrable initially deferred);"
        "insert into a values (1, 2);"
    )
    outcome = apply_script(target, script)
    assert not outcome.applied
    assert "foreign key" in outcome.error
    assert target_db.query(OBJECTS) == []


def test_the_password_is_neither_in_the_command_line_nor_in_what_is_said(
    source: Endpoint, target: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cache: None
) -> None:
    assert source.password is not None
    assert target.password is not None
    passwords = {source.password.reveal(), target.password.reveal()}
    seen = tmp_path / "seen"
    for name in ("pg_dump", "psql"):
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\nif [ \"$1\" = --version ]; then echo '{name} (PostgreSQL) 99.1'; exit; fi\n"
            f'echo "$@" >> {seen}\n[ -n "$PGPASSWORD" ] && echo known >> {seen}\necho refused >&2; exit 3\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(EngineError) as raised:
        dump_schema(source, 160000)
    assert raised.value.failure.detail == "refused"
    outcome = apply_script(target, "select 1;")
    assert outcome.error == "refused"
    commands = seen.read_text()
    assert commands.count("known") == 2
    assert "--no-password" in commands
    for password in passwords:
        assert password not in commands + repr(raised.value.failure) + repr(outcome)


def test_a_wrong_password_never_prompts(source: Endpoint, target: Endpoint) -> None:
    with pytest.raises(EngineError) as raised:
        dump_schema(source.with_password("wrong"), 160000)
    assert "password authentication failed" in raised.value.failure.detail
    with pytest.raises(ConnectionFailedError) as refused:
        apply_script(target.with_password("wrong"), "select 1;")
    assert refused.value.failure.side is Side.TARGET


def test_no_program_new_enough_is_said_with_the_fix(source: Endpoint) -> None:
    with pytest.raises(BlockedError, match="pg_dump 42 or newer is needed") as raised:
        dump_schema(source, 420003)
    assert "postgresql-client-42" in raised.value.failure.hint


def test_an_installed_program_wins_over_a_newer_one_without_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cache: None
) -> None:
    monkeypatch.setattr(programs, "_DEBIAN_PROGRAMS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for folder, version in (("path", "16.2"), ("16/bin", "16.11"), ("17/bin", "17beta1"), ("broken/bin", "")):
        program = tmp_path / folder / "psql"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'psql (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    found = find_program("psql", 13)
    assert (found.path.parent.parent.name, found.version, found.is_bundled) == ("17", (17, 0), False)
    # A beta of 17 does not know \restrict.
    assert find_program("psql", 13, {16: 10, 17: 6}).version == (16, 11)
    bundled = find_program("psql", 18)
    assert bundled.is_bundled
    assert "without TLS" in bundled.hint()
