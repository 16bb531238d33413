"""Where libpq finds what a connection string leaves out: service file, password file, environment.

Sessions and client programs have to find the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from psycopg import conninfo as libpq_conninfo

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.fields import ConnectionFields
from engine.connection.probe import probe_server
from engine.connection.stage import Stage, StageDone
from engine.errors import Side
from engine.schema.dump import dump_schema
from tests.conftest import Database

ODD_PASSWORDS = ("p@ss:w/rd#1?&% '\"\\", "ends with;", " spaces ", "'quoted'", "50%41", "a=b host=c", "é语🐘")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and nothing for libpq in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGHOST", "PGPORT", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def parts(source_db: Database) -> dict[str, str]:
    """The database's address by keyword, with its password."""
    source_db.execute("create table found (id int)")
    return {key: str(value) for key, value in libpq_conninfo.conninfo_to_dict(source_db.conninfo).items()}


def without_password(parts: Mapping[str, str]) -> str:
    return libpq_conninfo.make_conninfo(
        "", **{key: value for key, value in parts.items() if key != "password"}
    )


def write_service(path: Path, parts: Mapping[str, str]) -> None:
    path.write_text("[shop]\n" + "".join(f"{key}={value}\n" for key, value in parts.items()))


def write_password(path: Path, parts: Mapping[str, str]) -> None:
    password = parts["password"].replace("\\", "\\\\").replace(":", "\\:")
    path.write_text(f"{parts['host']}:{parts['port']}:*:{parts['user']}:{password}\n")
    path.chmod(0o600)


def password_origin(text: str, database: Database) -> str:
    """Connect and dump; where the password was found. None is in what may be shown or stored."""
    endpoint = parse_endpoint(Side.SOURCE, text)
    passed: list[StageDone] = []
    found = probe_server(endpoint, passed.append)
    assert (found.database, found.host) == (database.name, "127.0.0.1")
    assert "CREATE TABLE public.found" in dump_schema(endpoint, found.version_number).text
    return next(done.found for done in passed if done.stage is Stage.LOGIN)


def test_a_password_of_the_string_is_used(source_db: Database, parts: dict[str, str], home: Path) -> None:
    assert password_origin(source_db.conninfo, source_db) == "password as given"


def test_the_password_file_is_used(source_db: Database, parts: dict[str, str], home: Path) -> None:
    write_password(home / ".pgpass", parts)
    assert password_origin(without_password(parts), source_db) == "password of pgpass"


def test_the_environment_s_password_is_used(
    source_db: Database, parts: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", parts["password"])
    assert password_origin(without_password(parts), source_db) == "of PGPASSWORD"


def test_a_service_is_used(source_db: Database, parts: dict[str, str], home: Path) -> None:
    write_service(home / ".pg_service.conf", parts)
    assert password_origin("service=shop", source_db) == "of the service"
    assert password_origin("postgresql://?service=shop", source_db) == "of the service"


def test_a_service_without_a_password_goes_with_the_password_file(
    source_db: Database, parts: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(home / "services"))
    write_service(home / "services", {key: value for key, value in parts.items() if key != "password"})
    write_password(home / ".pgpass", parts)
    assert password_origin("service=shop", source_db) == "password of pgpass"


def test_the_environment_fills_what_is_left_out(
    source_db: Database, parts: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}.items():
        monkeypatch.setenv(name, parts[key])
    text = f"dbname={source_db.name}"
    assert password_origin(text, source_db) == "of PGPASSWORD"
    shown = f"{parts['user']}@127.0.0.1:{parts['port']}/{source_db.name}"
    assert str(parse_endpoint(Side.SOURCE, text).summary()) == shown


def test_what_a_service_may_hold_is_not_made_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert str(parse_endpoint(Side.SOURCE, "service=shop").summary()) == "service shop"
    over = parse_endpoint(Side.SOURCE, "service=shop dbname=other port=6543").summary()
    assert str(over) == "service shop with port 6543, database other"


@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_fields_make_a_string_that_says_exactly_what_was_typed(password: str) -> None:
    values = {"host": "fe80::1%eth0", "dbname": "odd 'name\\", "user": "o=dd user", "password": password}
    fields = ConnectionFields(values)
    endpoint = parse_endpoint(Side.SOURCE, fields.conninfo())
    assert endpoint.keywords() == values
    assert password not in repr(fields)


@pytest.mark.parametrize("password", ODD_PASSWORDS[:4])
def test_such_a_password_logs_in(source_db: Database, parts: dict[str, str], password: str) -> None:
    with source_db.connect() as connection:
        quoted = connection.execute("select quote_literal(%s)", [password]).fetchone()
        assert quoted is not None
        connection.execute(f"create role odd_password login password {quoted[0]}")
    try:
        typed = ConnectionFields({**parts, "user": "odd_password", "password": password})
        found: Endpoint = parse_endpoint(Side.SOURCE, typed.conninfo())
        assert probe_server(found).user == "odd_password"
    finally:
        source_db.execute("drop role odd_password")


def test_the_end_of_a_keyword_password_is_not_taken_for_the_end_of_a_line() -> None:
    assert (
        parse_endpoint(Side.SOURCE, "host=db user=me password=hunter2;").keywords()["password"] == "hunter2;"
    )
    assert parse_endpoint(Side.SOURCE, "postgresql://me@db/shop;").parameters["dbname"] == "shop"
