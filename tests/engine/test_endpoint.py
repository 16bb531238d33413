"""Connection strings are taken as they were meant, and their passwords are never shown."""

from __future__ import annotations

import pickle
import traceback
from urllib.parse import quote

import pytest
from psycopg import sql

from engine.connection.endpoint import parse_endpoint
from engine.connection.probe import probe_server
from engine.errors import ConnectionFailedError, Side, UsageError
from tests.conftest import Database

PASSWORD = "p@ss:w/rd#1?&% '\"\\é"


def password_of(text: str) -> str | None:
    return parse_endpoint(Side.SOURCE, text).keywords().get("password")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:secret@db.example:6543/shop",
        "postgres://me:secret@db.example:6543/shop",
        "  postgresql://me:secret@db.example:6543/shop\r\n",
        "'postgresql://me:secret@db.example:6543/shop'",
        'export SOURCE="postgresql://me:secret@db.example:6543/shop"',
        "export SOURCE='postgresql://me:secret@db.example:6543/shop';",
        "SOURCE=postgresql://me:secret@db.example:6543/shop",
        "set PGURL=postgresql://me:secret@db.example:6543/shop",
        "host=db.example port=6543 dbname=shop user=me password=secret",
        "host = db.example port=6543 dbname='shop' user=me password='secret'",
    ],
)
def test_it_is_read_as_it_was_pasted(text: str) -> None:
    endpoint = parse_endpoint(Side.SOURCE, text)
    assert str(endpoint.summary()) == "me@db.example:6543/shop"
    assert endpoint.keywords()["password"] == "secret"
    assert endpoint.summary().has_password


@pytest.mark.parametrize(
    "password",
    ["a:b", "a#b", "a?b", "50%", "a b", "é", "[x]", "x&y=z", "p@ss", "a/b", "@", "a@b@c", "p@ss/word"],
)
def test_a_password_may_be_typed_raw_or_escaped(password: str) -> None:
    for typed in (quote(password, safe=""), password):
        endpoint = parse_endpoint(Side.SOURCE, f"postgresql://me:{typed}@db.example:6543/shop")
        assert endpoint.keywords()["password"] == password
        assert str(endpoint.summary()) == "me@db.example:6543/shop"


def test_a_keyword_password_keeps_every_character() -> None:
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    assert password_of(f"host=db.example user=me password='{escaped}'") == PASSWORD


def test_what_is_stored_reads_back_without_the_password() -> None:
    endpoint = parse_endpoint(
        Side.TARGET, f"postgresql://me:{quote(PASSWORD, safe='')}@db.example/odd%20'name?sslmode=require"
    )
    again = parse_endpoint(Side.TARGET, endpoint.conninfo())
    assert dict(again.parameters) == dict(endpoint.parameters)
    assert again.parameters["dbname"] == "odd 'name"
    assert again.password is None
    assert again.environment() == {}
    assert endpoint.environment() == {"PGPASSWORD": PASSWORD}
    assert again.with_password("other").keywords()["password"] == "other"


def test_the_password_is_in_nothing_that_prints() -> None:
    endpoint = parse_endpoint(Side.SOURCE, "postgresql://me:hunter2@db.example/shop")
    for text in (repr(endpoint), str(endpoint), endpoint.conninfo(), repr(endpoint.summary())):
        assert "hunter2" not in text
    try:
        pickled = pickle.dumps(endpoint)
    except TypeError:
        pickled = b""
    assert b"hunter2" not in pickled


@pytest.mark.parametrize("text", ["", "   ", "''", "export SOURCE="])
def test_nothing_typed_is_said_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_endpoint(Side.TARGET, text)
    assert "target" in raised.value.failure.title
    assert "postgresql://" in raised.value.failure.hint


@pytest.mark.parametrize(
    "text", ["hunter2", "host=db.example pass word=hunter2", "password='hunter2", "hunter2=hunter2"]
)
def test_what_cannot_be_read_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_endpoint(Side.SOURCE, text)
    said = "".join(traceback.format_exception(raised.value))
    assert "hunter2" not in raised.value.failure.sentence()
    assert "hunter2" not in said.replace(repr(text), "")


def test_a_role_and_database_of_odd_names_can_be_reached(source_db: Database) -> None:
    role = sql.Identifier("odd role@%")
    source_db.execute(
        sql.SQL("create role {} login password {}").format(role, sql.Literal(PASSWORD.replace("é", "e")))
    )
    try:
        password = quote(PASSWORD.replace("é", "e"), safe="")
        text = f"postgresql://odd%20role%40%25:{password}@127.0.0.1:{source_db.server.port}/{source_db.name}"
        found = probe_server(parse_endpoint(Side.SOURCE, text))
    finally:
        source_db.execute(sql.SQL("drop role {}").format(role))
    assert (found.user, found.database) == ("odd role@%", source_db.name)
    assert found.version_number // 10000 == 16
    assert not found.is_superuser
    assert not found.can_replicate
    assert found.wal_level == "logical"
    assert 0 < found.round_trip_seconds < 1


def test_the_superuser_sees_the_system_identifier(source_db: Database, target_db: Database) -> None:
    source = probe_server(parse_endpoint(Side.SOURCE, source_db.conninfo))
    target = probe_server(parse_endpoint(Side.TARGET, target_db.conninfo))
    assert source.is_superuser
    assert source.can_replicate
    assert source.system_identifier != target.system_identifier
    assert target.side is Side.TARGET
    assert source.database_size_bytes > 1_000_000


def test_a_wrong_password_is_said_without_any(source_db: Database) -> None:
    endpoint = parse_endpoint(Side.SOURCE, source_db.conninfo).with_password("hunter2")
    with pytest.raises(ConnectionFailedError) as raised:
        probe_server(endpoint)
    assert "password" in raised.value.failure.title
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_an_address_where_nothing_listens_is_said_plainly() -> None:
    with pytest.raises(ConnectionFailedError, match="Nothing answers"):
        probe_server(parse_endpoint(Side.TARGET, "postgresql://me:hunter2@127.0.0.1:1/shop"))


def test_a_key_s_passphrase_is_as_secret_as_the_password() -> None:
    endpoint = parse_endpoint(Side.SOURCE, "host=db.example user=me sslkey=/k sslpassword=hunter2")
    for text in (repr(endpoint), endpoint.conninfo()):
        assert "hunter2" not in text
    assert endpoint.keywords()["sslpassword"] == "hunter2"
