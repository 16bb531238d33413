"""The embedded servers start, stop, die and come back; and nothing of them is left behind."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from livesync_tui.demo import servers
from livesync_tui.demo.servers import EmbeddedServer, EmbeddedServerError, temporary_directory
from tests.conftest import Database

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=[16, 18])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server for this module alone, because its tests stop and kill it."""
    with temporary_directory() as base:
        made = EmbeddedServer.create(request.param, base / "server")
        yield made
        made.stop("immediate")


def scalar(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def main_process(server: EmbeddedServer) -> int:
    return int((server.directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def processes_of(server: EmbeddedServer) -> set[int]:
    """The ids of the server's live processes."""
    parent = main_process(server)
    live = servers._parents_of_live_processes()
    return {process for process in live if parent in (process, live[process])}


def test_a_new_server_is_of_the_asked_version_and_decodes_wal(server: EmbeddedServer) -> None:
    server.start()
    assert str(scalar(server, "show server_version")).startswith(f"{server.major}.")
    assert scalar(server, "show wal_level") == "logical"
    assert scalar(server, "show server_encoding") == "UTF8"


def test_it_keeps_its_port_and_rows_over_every_way_to_end(server: EmbeddedServer) -> None:
    server.start()
    port = server.port
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("create table kept (way text)")
    for way, end in (
        ("fast", server.stop),
        ("immediate", lambda: server.stop("immediate")),
        ("kill", server.kill),
    ):
        scalar(server, f"insert into kept values ('{way}') returning way")
        before = processes_of(server)
        assert len(before) > 1
        end()
        assert not server.running
        assert not before & servers._parents_of_live_processes().keys()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.conninfo())
        server.start()
        assert server.port == port
    assert scalar(server, "select count(distinct way) from kept") == 3


def test_a_fast_stop_ends_open_sessions(server: EmbeddedServer) -> None:
    server.start()
    connection = psycopg.connect(server.conninfo())
    connection.execute("select 1")
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    connection.close()


def test_starting_twice_and_stopping_twice_is_harmless(server: EmbeddedServer) -> None:
    server.start()
    first = main_process(server)
    server.start()
    assert main_process(server) == first
    server.stop("immediate")
    server.stop("immediate")
    server.kill()
    assert not server.running


def test_a_wrong_password_is_refused_and_the_right_one_is_nowhere_to_be_seen(server: EmbeddedServer) -> None:
    server.start()
    password = server.client_environment()["PGPASSWORD"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.conninfo(password="wrong"))
    assert password not in repr(server)
    assert password not in server.log_path.read_text()
    assert password not in (server.directory / "data" / "postgresql.conf").read_text()
    if Path("/proc/self/cmdline").exists():
        for process in processes_of(server):
            assert password.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
    assert sorted(entry.name for entry in server.directory.iterdir()) == ["data", "server.log"]


def test_the_connection_string_takes_odd_names_and_overrides(server: EmbeddedServer) -> None:
    server.start()
    name = 'odd /?"#%'
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
    conninfo = server.conninfo(name, application_name="a b&c", options="-c work_mem=5MB")
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "select current_database(), current_setting('application_name'), current_setting('work_mem')"
        ).fetchone()
    assert row == (name, "a b&c", "5MB")


def test_client_programs_work_with_the_client_environment(server: EmbeddedServer) -> None:
    server.start()
    finished = subprocess.run(
        [server.bin_directory / "psql", "--no-psqlrc", "-Atc", "select 6 * 7"],
        env=server.client_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "42\n"
    for program in ("pg_dump", "pg_ctl", "pgbench"):
        assert (server.bin_directory / program).exists()


def test_the_first_start_moves_away_from_a_port_taken_meanwhile() -> None:
    with temporary_directory() as base:
        server = EmbeddedServer.create(18, base / "server")
        with socket.socket() as other:
            other.bind(("127.0.0.1", server.port))
            other.listen()
            chosen = server.port
            server.start()
            assert server.port != chosen
            assert scalar(server, "select 1") == 1
            server.stop()


def test_a_server_that_cannot_start_says_what_it_logged() -> None:
    with temporary_directory() as base:
        server = EmbeddedServer.create(16, base / "server", settings={"shared_preload_libraries": "missing"})
        with pytest.raises(EmbeddedServerError) as raised:
            server.start()
        assert 'could not access file "missing"' in raised.value.failure.detail
        assert not server.running


def test_settings_win_over_the_defaults() -> None:
    with temporary_directory() as base:
        server = EmbeddedServer.create(16, base / "server", settings={"wal_level": "replica", "port": "1"})
        server.start()
        assert scalar(server, "show wal_level") == "replica"


def test_an_unknown_version_is_refused_by_name() -> None:
    with temporary_directory() as base, pytest.raises(EmbeddedServerError, match="no embedded PostgreSQL 9"):
        EmbeddedServer.create(9, base / "server")


def test_leaving_the_temporary_directory_stops_its_servers_and_removes_it() -> None:
    with temporary_directory() as base:
        server = EmbeddedServer.create(18, base / "server")
        server.start()
        processes = processes_of(server)
    assert not server.running
    assert not base.exists()
    assert not processes & servers._parents_of_live_processes().keys()


def test_servers_end_with_the_process_that_started_them() -> None:
    """Also when it does not stop them, and also when it ends by an exception."""
    script = (
        "from pathlib import Path\n"
        "from livesync_tui.demo.servers import EmbeddedServer, temporary_directory\n"
        "context = temporary_directory()\n"
        "server = EmbeddedServer.create(18, context.__enter__() / 'server')\n"
        "server.start()\n"
        "pid = (server.directory / 'data' / 'postmaster.pid').read_text().split()[0]\n"
        "open(1, 'w', closefd=False).write(f'{pid} {server.directory.parent}')\n"
        "raise SystemExit(7)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 7, finished.stderr
    process, base = finished.stdout.split()
    shutil.rmtree(base, ignore_errors=True)
    assert int(process) not in servers._parents_of_live_processes()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_programs_that_the_other_user_cannot_read_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_can_run", lambda program, account: False)
    copied = servers._programs_directory.__wrapped__(18)
    assert servers._wheel_directory() not in copied.parents
    with temporary_directory() as base:
        monkeypatch.setattr(servers, "_programs_directory", lambda major: copied)
        server = EmbeddedServer.create(18, base / "server")
        server.start()
        assert scalar(server, "show server_version_num") is not None
    shutil.rmtree(copied.parents[2])


@needs_root
def test_access_of_the_other_user_is_tried_and_not_assumed() -> None:
    account = servers._account()
    assert account is not None
    with temporary_directory() as base:
        folder = base / "programs"
        folder.mkdir(mode=0o700)
        program = folder / "postgres"
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)
        assert not servers._can_run(program, account)
        folder.chmod(0o755)
        assert servers._can_run(program, account)


@needs_root
def test_an_ordinary_user_runs_the_servers_as_himself() -> None:
    nobody = pwd.getpwnam("nobody")
    wheel = servers._wheel_directory()
    script = (
        "import os, sys\n"
        "from livesync_tui.demo.servers import EmbeddedServer, temporary_directory\n"
        "with temporary_directory() as base:\n"
        "    for major in (16, 18):\n"
        "        server = EmbeddedServer.create(major, base / str(major))\n"
        "        server.start()\n"
        "        pid = (server.directory / 'data' / 'postmaster.pid').read_text().split()[0]\n"
        "        sys.stdout.write(str(os.stat(f'/proc/{pid}').st_uid) + ' ')\n"
    )
    for interpreter in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if interpreter is None:
            continue
        environment = {"PYTHONPATH": f"{REPOSITORY}:{wheel.parent}", "PATH": os.defpath}
        try:
            finished = subprocess.run(
                [interpreter, "-c", script],
                cwd="/",
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                user=nobody.pw_uid,
                group=nobody.pw_gid,
                extra_groups=[],
            )
        except PermissionError:
            continue
        if "No module named" in finished.stderr:
            continue
        assert finished.stdout.split() == [str(nobody.pw_uid)] * 2, finished.stderr
        return
    pytest.skip("the user nobody can run neither this interpreter nor the system's, or not read this folder")


def test_a_database_fixture_leaves_no_slot_and_no_database_behind(source_server: EmbeddedServer) -> None:
    database = Database(source_server, "fixture_check")
    database.create()
    database.execute("create table t (id int); insert into t values (1)")
    database.query("select pg_create_logical_replication_slot('fixture_check', 'pgoutput')")
    with database.connect():
        database.drop()
    assert (
        scalar(source_server, "select count(*) from pg_replication_slots where database = 'fixture_check'")
        == 0
    )
    assert scalar(source_server, "select count(*) from pg_database where datname = 'fixture_check'") == 0


def test_both_database_fixtures_are_empty_and_separate(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table t (id int)")
    assert target_db.query("select to_regclass('t')") == [(None,)]
    assert source_db.query("select current_database()") == [(source_db.name,)]
