"""Each stage of getting through to a server is told as it is passed; the one that fails is the next."""

from __future__ import annotations

import socket
import threading

import pytest
from psycopg import conninfo as libpq_conninfo

from engine.connection.endpoint import parse_endpoint
from engine.connection.probe import probe_server
from engine.connection.stage import STAGES, Stage, StageDone, stage_in_progress, with_stage
from engine.errors import ConnectionFailedError, Failure, Side
from tests.conftest import Database


def told(conninfo: str) -> tuple[StageDone, ...]:
    """The stages as a screen keeps them; each was told on the thread that connects."""
    done: tuple[StageDone, ...] = ()

    def keep(new: StageDone) -> None:
        nonlocal done
        assert threading.current_thread() is threading.main_thread()
        assert new.seconds >= 0
        done = with_stage(done, new)

    probe_server(parse_endpoint(Side.SOURCE, conninfo), keep)
    return done


def failure(conninfo: str) -> tuple[Failure, Stage | None]:
    """What is said of a connection that fails, and the stage that did."""
    done: tuple[StageDone, ...] = ()

    def keep(new: StageDone) -> None:
        nonlocal done
        done = with_stage(done, new)

    with pytest.raises(ConnectionFailedError) as raised:
        probe_server(parse_endpoint(Side.SOURCE, conninfo), keep)
    return raised.value.failure, stage_in_progress(done)


def test_all_stages_are_told_in_their_order(source_db: Database) -> None:
    done = told(source_db.conninfo)
    assert tuple(each.stage for each in done) == STAGES
    assert [each.found for each in done[:4]] == [
        "127.0.0.1",
        f"port {source_db.server.port}",
        "no TLS",
        "password as given",
    ]
    assert done[4].found.startswith("16.")
    assert done[5].found == "superuser"


def test_the_next_host_is_another_start(source_db: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        closed_port = reserved.getsockname()[1]
    ports = f"{closed_port},{source_db.server.port}"
    conninfo = libpq_conninfo.make_conninfo(source_db.conninfo, host="127.0.0.1,127.0.0.1", port=ports)
    done = told(conninfo)
    assert tuple(each.stage for each in done) == STAGES
    assert done[1].found == f"port {source_db.server.port}"


def test_what_was_passed_before_a_new_start_counts_no_longer() -> None:
    done = tuple(StageDone(stage, 0.1, "") for stage in STAGES[:4])
    again = StageDone(Stage.TCP, 0.2, "")
    assert with_stage(done, again) == (done[0], again)
    assert stage_in_progress((done[0], again)) is Stage.TLS
    assert stage_in_progress(tuple(StageDone(stage, 0.1, "") for stage in STAGES)) is None


def test_a_closed_port_fails_at_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    said, stage = failure(f"postgresql://me@127.0.0.1:{port}/shop")
    assert (said.title, stage) == ("Nothing answers at the address of the source", Stage.TCP)
    assert "Connection refused" in said.detail


def test_a_listener_that_says_nothing_fails_at_tls_when_the_time_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said, stage = failure(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/shop?connect_timeout=1")
    assert (said.title, stage) == ("The source does not answer", Stage.TLS)


def test_a_wrong_password_fails_at_the_login(source_db: Database) -> None:
    conninfo = libpq_conninfo.make_conninfo(source_db.conninfo, password="hunter2")
    said, stage = failure(conninfo)
    assert (said.title, stage) == ("The source refused the password", Stage.LOGIN)
    assert "password authentication failed" in said.detail
    assert "hunter2" not in said.sentence()


def test_a_missing_database_fails_at_the_login_with_the_server_s_words(source_db: Database) -> None:
    conninfo = libpq_conninfo.make_conninfo(source_db.conninfo, dbname="no such database")
    said, stage = failure(conninfo)
    assert stage is Stage.LOGIN
    assert said.title == "The source has no such database, or lets nobody into it"
    assert 'database "no such database" does not exist' in said.detail


def test_a_role_that_is_not_there_or_may_not_log_in_is_said(source_db: Database) -> None:
    source_db.execute("create role may_not_log_in nologin password 'x'")
    try:
        conninfo = libpq_conninfo.make_conninfo(source_db.conninfo, user="may_not_log_in", password="x")
        said, stage = failure(conninfo)
    finally:
        source_db.execute("drop role may_not_log_in")
    assert (said.title, stage) == ("The source refused the login", Stage.LOGIN)
    assert "is not permitted to log in" in said.detail


@pytest.mark.parametrize(
    ("conninfo", "title"),
    [
        ("service=nowhere", "The service of the source is not in the service file"),
        ("host=127.0.0.1 port=54x2", "The connection string of the source has a value that cannot be"),
        ("host=127.0.0.1 sslmode=requird", "The connection string of the source has a value that cannot be"),
    ],
)
def test_a_value_that_cannot_be_fails_before_anything_is_tried(
    conninfo: str, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", "/dev/null")
    said, stage = failure(conninfo)
    assert (said.title, stage) == (title, Stage.DNS)
    assert said.detail
