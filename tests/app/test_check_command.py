"""``livesync-tui check`` as a person at a shell and a script see it: plain lines, JSON, exit codes."""

from __future__ import annotations

import json
import re

from psycopg import sql

from tests.app.test_bad_input import SECRET, command
from tests.conftest import Database

_FIRST_LINE = re.compile(r"(ok|warning|unknown|blocks) +(source|target) +[a-z_0-9]+: .+")
_NEXT_LINE = re.compile(r" {17}(why|fix|   )   .+")
_SUMMARY = re.compile(r"\d+ checks: .+")


def test_good_servers_are_told_in_plain_lines(source_db: Database, target_db: Database) -> None:
    result = command("check", source=source_db.conninfo, target=target_db.conninfo)
    assert (result.returncode, result.stderr) == (0, "")
    *lines, summary = result.stdout.splitlines()
    assert all(_FIRST_LINE.fullmatch(line) for line in lines)
    assert summary == f"{len(lines)} checks: {len(lines)} ok"


def test_what_blocks_comes_first_and_is_the_exit_code(source_db: Database) -> None:
    result = command("check", source=source_db.conninfo, target=source_db.conninfo)
    assert (result.returncode, result.stderr) == (3, "")
    assert result.stdout.startswith("blocks   target  different_databases: source and target are the same")


def test_a_provider_that_is_named_decides_the_fixes(source_db: Database, target_db: Database) -> None:
    source_db.execute("create role plain_of_check login password 'plain'")
    try:
        source = f"postgresql://plain_of_check:plain@127.0.0.1:{source_db.server.port}/{source_db.name}"
        result = command("check", "--provider", "rds", "--json", source=source, target=target_db.conninfo)
    finally:
        source_db.execute("drop role plain_of_check")
    assert (result.returncode, result.stderr) == (3, "")
    findings = {(finding["side"], finding["check"]): finding for finding in json.loads(result.stdout)}
    assert findings["source", "provider"]["found"] == "Amazon RDS for PostgreSQL: named by you"
    right = findings["source", "replication_right"]
    assert right["verdict"] == "blocks"
    assert right["remedy"]["sql"] == ["grant rds_replication to plain_of_check"]
    assert right["remedy"]["applicable"] is False
    assert right["fix"].startswith("grant rds_replication to plain_of_check;\n")
    assert findings["target", "version"]["remedy"] is None


def test_a_provider_that_cannot_be_a_source_blocks(source_db: Database, target_db: Database) -> None:
    databases = {"source": source_db.conninfo, "target": target_db.conninfo}
    result = command("check", "--provider", "heroku", **databases)
    assert result.returncode == 3
    assert "no logical replication" in result.stdout
    result = command("check", "--provider", "herokku", **databases)
    assert result.returncode == 2
    assert "no provider 'herokku'" in result.stderr


def test_a_server_that_cannot_be_reached_is_one_sentence(source_db: Database) -> None:
    nowhere = f"postgresql://me:{SECRET}@127.0.0.1:1/nowhere"
    for databases in (
        {"source": source_db.conninfo, "target": nowhere},
        {"source": nowhere, "target": source_db.conninfo},
    ):
        result = command("check", **databases)
        assert (result.returncode, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert SECRET not in result.stderr


def test_hostile_names_move_no_cursor(source_db: Database, target_db: Database) -> None:
    hostile = "\x1b[2J\r\n[bold]\u202egpj"
    source_db.execute(sql.SQL("create unlogged table {} (a int)").format(sql.Identifier(hostile)))
    result = command("check", source=source_db.conninfo, target=target_db.conninfo)
    assert (result.returncode, result.stderr) == (0, "")
    assert "unlogged_tables: 1 unlogged table: public." in result.stdout
    assert not {"\x1b", "\r", "\u202e"} & set(result.stdout)
    for line in result.stdout.splitlines():
        assert any(form.fullmatch(line) for form in (_FIRST_LINE, _NEXT_LINE, _SUMMARY)), line
