"""Scripts that a person edits: cut by PostgreSQL's grammar, run one by one, passwords hidden."""

from __future__ import annotations

import subprocess

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.secret import Secret
from engine.connection.session import open_session
from engine.errors import ConnectionFailedError, Side, UsageError
from engine.schema.programs import find_program
from engine.script.grammar import split_script
from engine.script.masking import mask, reveal
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement
from engine.script.run import run_script
from tests.conftest import Database


def run(database: Database, text: str) -> ScriptResult:
    with open_session(parse_endpoint(Side.TARGET, database.conninfo), "test") as session:
        return run_script(session, text, Side.TARGET)


HOSTILE = 'a"b; drop table t;\n-- "\r\\! id\n/* [bold] \x1b[31m \u202eabc\u2028'
"""A name with everything that could end a comment, or be obeyed by psql or a terminal."""


def test_a_script_is_cut_where_postgresql_ends_its_statements() -> None:
    text = """-- first: a
select ';', $x$ ; -- no comment $x$ ; -- after

/* block; */
-- not this one
-- second: b
set role other; select 1;
-- inside
reset role;
create function f() returns int begin atomic select 1; select 2; end;
"""
    units = split_script(text)
    assert [(unit.comment, unit.line) for unit in units] == [("first: a", 2), ("second: b", 7), ("", 10)]
    assert units[0].sql == "select ';', $x$ ; -- no comment $x$"
    assert units[1].sql == "set role other; select 1;\n-- inside\nreset role"
    assert units[2].sql.endswith("end")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select 1;\ncommit;", "Line 2: begin, commit"),
        ("select 1;\n\\! rm", "Line 2 cannot be read"),
        ("select 1;\nset role a; select 2;", "Line 2: SET ROLE has no RESET ROLE"),
        ("alter role a password 'geheim", "Line 1 cannot be read"),
        ("alter role a passwort 'geheim'", "Line 1 cannot be read"),
    ],
)
def test_what_is_no_such_script_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        split_script(text)
    assert "geheim" not in raised.value.failure.sentence()


def test_each_statement_stands_on_its_own(target_db: Database) -> None:
    result = run(
        target_db,
        "-- one\ncreate table public.t (id int);\n-- two\ncreate table public.t (id int);\n"
        "-- three\nselect 1/0;\n"
        "-- five\ninsert into public.t values (1);\n-- six\ncreate database x;\nselect 5",
    )
    told = [(one.about, one.outcome) for one in result.results]
    assert told == [
        ("one", Outcome.APPLIED),
        ("two", Outcome.ALREADY_THERE),
        ("three", Outcome.REFUSED),
        ("five", Outcome.APPLIED),
        ("six", Outcome.REFUSED),
        ("select 5", Outcome.APPLIED),
    ]
    assert result.refused[0].said == "division by zero"
    assert result.results[1].said == 'relation "t" already exists'
    assert target_db.query("select * from t") == [(1,)]


def test_many_statements_are_committed_in_parts(target_db: Database) -> None:
    made = "create table public.t (id int);"
    text = made + "".join(f"insert into public.t values ({n});" for n in range(450))
    assert run(target_db, text).count(Outcome.APPLIED) == 451
    with pytest.raises(ConnectionFailedError):
        run(target_db, text[len(made) :] + "select pg_terminate_backend(pg_backend_pid())")
    assert target_db.query("select count(*) from t") == [(850,)]


def test_what_postgresql_only_warns_of_is_a_refusal_too(target_db: Database) -> None:
    target_db.execute("create table t (id int); create table u (id int); grant select on t to pg_monitor")
    result = run(
        target_db,
        "set role pg_monitor; grant select on public.t to pg_read_all_stats; reset role;"
        "grant select on public.u to pg_read_all_stats;",
    )
    assert [one.outcome for one in result.results] == [Outcome.REFUSED, Outcome.APPLIED]
    assert result.refused[0].said == 'no privileges were granted for "t"'


def test_what_psql_reads_is_what_is_shown_but_for_passwords(target_db: Database) -> None:
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    script = Script(
        "x.sql",
        f"title {HOSTILE}",
        (
            ScriptStatement(f"table {HOSTILE}: made", f"CREATE TABLE public.{quoted} (id int)"),
            ScriptStatement(f"table {HOSTILE}: dropped", f"DROP TABLE public.{quoted}", f"because {HOSTILE}"),
        ),
        notes=(HOSTILE,),
    )
    psql = find_program("psql", 16)
    finished = subprocess.run(
        [psql.path, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=-"],
        env=target_db.server.client_environment(target_db.name),
        input=script.text(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.split() == ["SET", "CREATE", "TABLE"]
    assert target_db.query("select relname from pg_class where relkind = 'r' and oid > 16384") == [(HOSTILE,)]
    assert len(split_script(script.text())) == 1
    again = run(target_db, script.text())
    assert [one.outcome for one in again.results] == [Outcome.ALREADY_THERE]
    assert not {"\x1b", "\u202e", "\n"} & set(again.results[0].about)


def test_passwords_are_hidden_and_put_back() -> None:
    text = (
        "create role a password 'ge''heim'; alter role b encrypted password E'SCRAM-SHA-256$4096:x\\n';"
        "comment on role a is 'password ''open'''; alter role c password null;"
        "create user mapping for a server s options (password $$verborgen$$);"
    )
    shown, secrets = mask(text)
    for secret in ("heim", "SCRAM", "verborgen"):
        assert secret not in shown + repr(secrets)
    assert "'password ''open'''" in shown
    assert shown.count("<hidden") == 3
    assert reveal(shown, secrets) == text
    edited = shown.replace("role b", "role x").replace("password '<hidden 1>'", "password 'new'")
    assert reveal(edited, secrets) == text.replace("role b", "role x").replace("'ge''heim'", "'new'")
    with pytest.raises(UsageError, match="Line 2"):
        reveal("select 1;\nalter role a password '<hidden 9>'", secrets)
    assert "geh" not in mask("alter role a password 'geh")[0]


def test_a_placeholder_elsewhere_is_only_text() -> None:
    text = "comment on role a is '<hidden 1>'; alter role a password '<hidden 1>'"
    assert reveal(text, {"<hidden 1>": Secret("'x'")}) == text[:-12] + "'x'"
